package pinetree

// VolumeID names a volume for ever: ids are given by the cluster manager,
// rise, and are never reused. Zero is no volume.
type VolumeID uint64

// GroupID names a raft group for ever. Zero is no group.
type GroupID uint64

// NodeID names a storage node and, in raft, each of its replicas. Ids are
// never reused: a node that lost its disk comes back under a new one.
type NodeID uint64

// ComputeTerm counts the generations of writers of one volume. A writer opens
// a term higher than any before; from then on the older ones are fenced.
type ComputeTerm uint64

// RaftTerm is the term of the raft algorithm within one group.
type RaftTerm uint64

// RaftIndex is the position of an entry in one group's raft log.
type RaftIndex uint64

// AppointmentID numbers the cluster manager's decisions of who leads a group.
// It rises within a group; a higher one replaces every lower one.
type AppointmentID uint64

// MetaRevision counts the changes of one volume's metadata: each transaction that
// writes makes the next one. Zero is the empty metadata of a new volume.
type MetaRevision uint64

// PageNo is the number of a page within a volume.
type PageNo uint64

// Format tells how an engine reads the payloads of a volume's records.
type Format uint8

const (
	// FormatOpaque payloads are kept and given back as log, never decoded.
	// PostgreSQL's WAL is opaque.
	FormatOpaque Format = 1
	// FormatRedo payloads are storepb.Redo messages: page images, page
	// patches, key puts and key deletes, replayed into pages and keys.
	FormatRedo Format = 2
)

// String names the format as flags and listings do.
func (f Format) String() string {
	switch f {
	case FormatOpaque:
		return "opaque"
	case FormatRedo:
		return "redo"
	}
	return "unknown"
}

// ReadLevel says how fresh a read must be. The caller chooses.
type ReadLevel uint8

const (
	// ReadDefault is answered by the leader under its lease, and by a quorum
	// read when it has none. It reflects every append acknowledged before.
	ReadDefault ReadLevel = iota
	// ReadStale is answered by any replica from what it has applied.
	ReadStale
	// ReadConsistent asks a quorum. It reflects every append acknowledged
	// before, served by leader or follower.
	ReadConsistent
)

// String names the level as flags do.
func (l ReadLevel) String() string {
	switch l {
	case ReadStale:
		return "stale"
	case ReadConsistent:
		return "consistent"
	}
	return "default"
}
