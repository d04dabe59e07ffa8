package sim

import (
	"fmt"
	"slices"
	"strings"
)

// Mark names something interesting that happens in some runs. A suite in which
// one never happened has not tested what it says.
type Mark string

// The marks.
const (
	Failover          Mark = "another node was appointed"
	Adopted           Mark = "a leader that was not asked for was appointed as what it is"
	TransferDone      Mark = "transfer done"
	TransferAborted   Mark = "transfer aborted"
	TransferRefused   Mark = "transfer refused"
	LeaderLost        Mark = "a ready leader lost the leadership"
	Takeover          Mark = "a second writer took over"
	Fenced            Mark = "a writer was fenced"
	FenceInFlight     Mark = "fence while appends were in flight"
	OfferWhileFencing Mark = "offer by an older writer swallowed while its fence was on the way"
	Rejected          Mark = "an append was rejected for good"
	ResolvedCommitted Mark = "a fenced writer learned that its append is committed"
	SentAway          Mark = "a writer was sent to another leader"
	Duplicate         Mark = "a batch came twice"
	HeldHole          Mark = "a batch waited for a missing one"
	QueueFull         Mark = "a queue was full"
	LostWrite         Mark = "a crash lost an unsynced write"
	LostReplay        Mark = "a crash took an engine back"
	EngineAhead       Mark = "an engine was ahead of the stored commit index at start"
	PowerCut          Mark = "all nodes lost power"
	DiskFailed        Mark = "a disk failed and its replicas stopped"
	GroupCommit       Mark = "several saves shared a sync"
	Compaction        Mark = "a raft log was compacted"
	LeaseHeld         Mark = "a lease was held"
	LeaseRead         Mark = "read under the lease"
	FallbackNoLease   Mark = "default read without a lease"
	FallbackAfterRead Mark = "lease lost between read and answer"
	LeaderQuorumRead  Mark = "quorum read on a leader"
	FollowerRead      Mark = "quorum read on a follower"
	GrantWaits        Mark = "a leader waited for another one's lease to end"
	GrantUnused       Mark = "a grant did not count"
	GrantAfterRelease Mark = "a grant came after the release"
	LateGrant         Mark = "an older grant came after a newer one"
	WentQuiet         Mark = "a leader went quiet"
	WokeUp            Mark = "a quiet leader woke up"
	QuorumStale       Mark = "no grant for lack of a quorum"
	DiskStale         Mark = "no grant for a slow disk"
	ClaimRefused      Mark = "a leader of another appointment or term claimed the lease"
	ReleaseAsked      Mark = "a sick holder released its lease when asked"
	ManagerFailover   Mark = "a manager took over"
	LongPause         Mark = "a leader paused for longer than its lease"
	LateTimeoutNow    Mark = "a replica was told to take over after the transfer was aborted"
	Duel              Mark = "two replicas tried to lead at the same time"
	OneWayCut         Mark = "a link worked in one direction only"
	MembersChanged    Mark = "members were changed"
	LearnerAdded      Mark = "a learner was added"
	JointChange       Mark = "a joint change of members was committed"
	Replaced          Mark = "a voter was replaced"
	ChangeRefused     Mark = "a change of members was refused, or its outcome not known"
	ReplicaRemoved    Mark = "the files of a removed replica were removed"
	SnapshotOrdered   Mark = "a snapshot was ordered"
	SnapshotFailed    Mark = "the sending of a snapshot failed"
	SnapshotInstalled Mark = "a snapshot was installed"
	CrashInstalling   Mark = "a node crashed while it installed a snapshot"
	RestoreFinished   Mark = "a start completed the installation of a snapshot"
	Usurped           Mark = "a leader was left alone with its lease while another came up"
	DiskLost          Mark = "a node lost its disk"
	MetaWritten       Mark = "transactions on metadata were acknowledged"
	MetaTwice         Mark = "a transaction on metadata was sent twice"
	Trimmed           Mark = "a volume's log was truncated"
	TrimmedBehind     Mark = "a snapshot brought a replica over what was truncated"
	ReadTruncated     Mark = "a reader was refused what was truncated"
	SlotMade          Mark = "a slot was made or moved"
	SlotKeeps         Mark = "a slot kept log that was to go"
	SlotLost          Mark = "a reader found its slot lost"
)

// AllMarks are those that a suite must have seen.
var AllMarks = []Mark{
	Failover, Adopted, TransferDone, TransferAborted, TransferRefused, LeaderLost, Takeover, Fenced, FenceInFlight,
	OfferWhileFencing, Rejected, ResolvedCommitted, SentAway, Duplicate, HeldHole, QueueFull,
	LostWrite, LostReplay, EngineAhead, PowerCut, DiskFailed, GroupCommit, Compaction, LeaseHeld, LeaseRead, FallbackNoLease,
	FallbackAfterRead, LeaderQuorumRead, FollowerRead, GrantWaits, GrantUnused, GrantAfterRelease, LateGrant,
	WentQuiet, WokeUp, QuorumStale, DiskStale, ClaimRefused, ReleaseAsked, ManagerFailover, LongPause, LateTimeoutNow, OneWayCut, Duel,
	MembersChanged, LearnerAdded, JointChange, Replaced, ChangeRefused, ReplicaRemoved, SnapshotOrdered, SnapshotFailed,
	SnapshotInstalled, CrashInstalling, RestoreFinished, DiskLost, MetaWritten, MetaTwice,
	Trimmed, TrimmedBehind, ReadTruncated, SlotMade, SlotKeeps, SlotLost,
}

// Marks counts them.
type Marks map[Mark]int

// Add adds the counts of another run.
func (m Marks) Add(other Marks) {
	for mark, n := range other {
		m[mark] += n
	}
}

// Missing lists what never happened.
func (m Marks) Missing() []Mark {
	return slices.DeleteFunc(slices.Clone(AllMarks), func(mark Mark) bool { return m[mark] > 0 })
}

// String lists the counts.
func (m Marks) String() string {
	var b strings.Builder
	for _, mark := range AllMarks {
		fmt.Fprintf(&b, "%9d  %s\n", m[mark], mark)
	}
	return b.String()
}
