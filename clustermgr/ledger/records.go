package ledger

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree"
)

// What is kept in the store, as JSON, so that an operator can read it with the
// store's own tools. Fields are added, never given another meaning.

// The keys; those with an id behind a slash are made by the Key methods.
const (
	ClusterKey  = "cluster"
	CountersKey = "counters"
	SettingsKey = "settings"

	nodes   = "nodes/"
	groups  = "groups/"
	volumes = "volumes/"
	events  = "events/"
)

// Cluster names the cluster, for ever.
type Cluster struct {
	ID string `json:"id"`
}

// Settings are what all managers of the cluster agree on, as the active one has
// recorded them. Zero is what nobody has recorded.
type Settings struct {
	Grants
	QuorumAgeMS    int64 `json:"quorum_age_ms"`
	FsyncPendingMS int64 `json:"fsync_pending_ms"`
	HeartbeatMS    int64 `json:"heartbeat_ms"`
	SilentAfterMS  int64 `json:"silent_after_ms"`
	DeadAfterMS    int64 `json:"dead_after_ms"`
	SickAfterMS    int64 `json:"sick_after_ms"`
	ReplaceAfterMS int64 `json:"replace_after_ms"`
	// Former bounds what was granted by settings before these and may still count;
	// nil when nothing does.
	Former *Grants `json:"former,omitempty"`
}

// Grants bound for how long what a manager grants may count: it holds the office
// for at most the claim, and each lease lasts as long as it says, by clocks that are
// wrong by at most the drift.
type Grants struct {
	LeaseMS       int64   `json:"lease_ms"`
	MaxDrift      float64 `json:"max_drift"`
	OfficeClaimMS int64   `json:"office_claim_ms"`
}

// Same tells whether both say the same.
func (s Settings) Same(as Settings) bool {
	former := (s.Former == nil) == (as.Former == nil) && (s.Former == nil || *s.Former == *as.Former)
	s.Former, as.Former = nil, nil
	return former && s == as
}

// Counters are the last ids that were given. They never fall.
type Counters struct {
	Node   pinetree.NodeID   `json:"node"`
	Group  pinetree.GroupID  `json:"group"`
	Volume pinetree.VolumeID `json:"volume"`
}

// Node is a storage node, known by the instance of its directory.
type Node struct {
	ID       pinetree.NodeID `json:"id"`
	Instance string          `json:"instance"`
	Address  string          `json:"address"`
	Zone     string          `json:"zone"`
	// Draining nodes are to lead nothing, Leaving ones to have no replicas either.
	Draining bool `json:"draining,omitempty"`
	Leaving  bool `json:"leaving,omitempty"`
	// QuarantinedUntil is the wall-clock time in milliseconds of the Unix epoch up
	// to which the node is not appointed, or was the last time, and Quarantine says
	// why, until the end is recorded.
	QuarantinedUntil int64  `json:"quarantined_until,omitempty"`
	Quarantine       string `json:"quarantine,omitempty"`
	// Quarantines counts those in a row.
	Quarantines int `json:"quarantines,omitempty"`
}

// Unwanted says why the node is not to lead now, as long as another can, or
// nothing.
func (n Node) Unwanted(now time.Time) string {
	switch {
	case n.Leaving:
		return "its node is leaving the cluster"
	case n.Draining:
		return "its node is draining"
	case n.Quarantined(now):
		return "its node is in quarantine: " + n.Quarantine
	}
	return ""
}

// Quarantined tells whether the node is in quarantine now.
func (n Node) Quarantined(now time.Time) bool { return now.UnixMilli() < n.QuarantinedUntil }

// Key is where the node is kept.
func (n Node) Key() string { return fmt.Sprintf("%s%020d", nodes, n.ID) }

// Volume is a volume of a group.
type Volume struct {
	ID     pinetree.VolumeID `json:"id"`
	Name   string            `json:"name"`
	Group  pinetree.GroupID  `json:"group"`
	Format pinetree.Format   `json:"format"`
	// Ready is set once the group has the volume.
	Ready bool `json:"ready"`
	// Deleted volumes are no more, but for what their group may still have of them.
	Deleted bool `json:"deleted,omitempty"`
}

// Key is where the volume is kept.
func (v Volume) Key() string { return fmt.Sprintf("%s%020d", volumes, v.ID) }

// Kept is a record with the revision of its key; zero when it is not kept yet.
type Kept[T any] struct {
	Is       T
	Revision int64
}

// Put makes the change that replaces what is kept under the key.
func (k Kept[T]) Put(key string, value T) Change {
	return Change{Key: key, Value: encode(value), Expect: k.Revision}
}

func encode(value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("ledger: a %T cannot be encoded: %v", value, err)) // plain structs always can
	}
	return encoded
}

// Book is all that the store holds, as of one instant.
type Book struct {
	Cluster  Kept[Cluster]
	Counters Kept[Counters]
	Settings Kept[Settings]
	Nodes    []Kept[Node]
	Groups   []Kept[Group]
	Volumes  []Kept[Volume]
	Events   []Event
}

// Open decodes everything. An entry that cannot be read is an error that names
// it: deciding without it could give an id twice.
func Open(entries []Entry) (Book, error) {
	var b Book
	for _, e := range entries {
		var err error
		switch {
		case e.Key == ClusterKey:
			b.Cluster, err = read[Cluster](e)
		case e.Key == CountersKey:
			b.Counters, err = read[Counters](e)
		case e.Key == SettingsKey:
			b.Settings, err = read[Settings](e)
		case strings.HasPrefix(e.Key, nodes):
			err = readInto(&b.Nodes, e)
		case strings.HasPrefix(e.Key, groups):
			err = readInto(&b.Groups, e)
		case strings.HasPrefix(e.Key, volumes):
			err = readInto(&b.Volumes, e)
		case strings.HasPrefix(e.Key, events):
			var event Kept[Event]
			event, err = read[Event](e)
			b.Events = append(b.Events, event.Is)
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

func read[T any](e Entry) (Kept[T], error) {
	k := Kept[T]{Revision: e.Revision}
	if err := json.Unmarshal(e.Value, &k.Is); err != nil {
		return k, &pinetree.CorruptError{Where: "cluster manager's store, key " + e.Key, What: err.Error()}
	}
	return k, nil
}

func readInto[T any](list *[]Kept[T], e Entry) error {
	k, err := read[T](e)
	*list = append(*list, k)
	return err
}
