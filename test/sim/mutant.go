package sim

import (
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Mutant names a bug that a run has on purpose, outside of the code that is
// checked. A checker that does not find it is worth nothing.
type Mutant string

// The mutants.
const (
	SavedBeforeSync    Mutant = "saved-before-sync"    // a replica hears that a write is durable when it is only written
	NoSync             Mutant = "no-sync"              // nothing is ever durable
	AckBeforeCommit    Mutant = "ack-before-commit"    // a writer hears of its batch when the leader takes it
	ForgottenVote      Mutant = "forgotten-vote"       // a restart forgets whom the replica voted for
	FlushNothing       Mutant = "flush-nothing"        // the raft log is compacted up to what the engine may lose
	CompactForAll      Mutant = "compact-for-all"      // … and up to what a slow follower still needs
	AppliedBeforeWrite Mutant = "applied-before-write" // readers hear of entries that the engine does not have yet
	FenceIgnored       Mutant = "fence-ignored"        // one replica does not replay fences
	NoLeaseCheck       Mutant = "no-lease-check"       // whoever believes to lead answers default reads
	CachedLeaseCheck   Mutant = "cached-lease-check"   // the lease is checked at each turn, not at each read
	NoApplyWait        Mutant = "no-apply-wait"        // reads do not wait for what they must reflect
	LatePublish        Mutant = "late-publish"         // readers see the replica's state after writers were acknowledged
	ReusedReadContext  Mutant = "reused-read-context"  // a restarted replica numbers its quorum reads as before
	SelfActivation     Mutant = "self-activation"      // a new leader does not wait for the manager
	CountFromReceipt   Mutant = "count-from-receipt"   // the lease is counted from when the grant came
	NoLeaseWait        Mutant = "no-lease-wait"        // the manager activates a leader beside a live lease
	ImpatientManager   Mutant = "impatient-manager"    // a new manager does not wait for what the one before granted
	EternalManager     Mutant = "eternal-manager"      // a manager grants after its session is over
	WildClocks         Mutant = "wild-clocks"          // clocks drift more than the rules allow for
	BlindChoice        Mutant = "blind-choice"         // the manager appoints without looking at the logs
	LogBeforeEngine    Mutant = "log-before-engine"    // the log begins after a snapshot that the engine does not hold yet
	SavedBeforeInstall Mutant = "saved-before-install" // a replica hears that a snapshot is durable when it is wanted
	RestartOneOff      Mutant = "restart-one-off"      // the log begins one entry above the snapshot
	ReportLost         Mutant = "report-lost"          // raft does not hear that a snapshot failed
	CompactUnderWay    Mutant = "compact-under-way"    // the log is given up while a snapshot that needs it is on its way
	WipedFounder       Mutant = "wiped-founder"        // a voter whose disk was lost comes back as when the group began
	StaleMembership    Mutant = "stale-membership"     // a restart forgets the changes of members
	StoppedClock       Mutant = "stopped-clock"        // a node's clock stands still while it pauses
	EarlyReadIndex     Mutant = "early-read-index"     // a leader answers quorum reads before it is activated
	EarlyCommit        Mutant = "early-commit"         // a leader commits before it is activated
	ReleaseNotForGood  Mutant = "release-not-for-good" // a late grant counts after the release of its appointment
	ReleaseUnasked     Mutant = "release-unasked"      // the manager takes its order to release for the answer
	GrantBeforeRecord  Mutant = "grant-before-record"  // the manager grants before it has recorded the activation
	AnotherTerm        Mutant = "another-term"         // the index is taken first, the lease checked later in any raft term
	NotReady           Mutant = "not-ready"            // a leader reads before it has committed in its own raft term
	TermlessLease      Mutant = "termless-lease"       // lease and activation hold in every raft term of a node
	MetaForgotten      Mutant = "meta-forgotten"       // one replica does not replay transactions on metadata
	TrimTooFar         Mutant = "trim-too-far"         // a log is truncated one LSN further than was decided
	TrimBeyondSlot     Mutant = "trim-beyond-slot"     // a log is truncated as far as was decided, whatever slots hold since
	SlotsUnseen        Mutant = "slots-unseen"         // nobody looks at slots when a log is truncated
	TrimForgotten      Mutant = "trim-forgotten"       // a snapshot does not say that the log was truncated
	SlotsForgotten     Mutant = "slots-forgotten"      // a snapshot does not say what slots there are
	CutAbove           Mutant = "cut-above"            // one replica loses the batch after what is truncated
	KeepsLess          Mutant = "keeps-less"           // much less is kept than the settings say
	SlotLostEarly      Mutant = "slot-lost-early"      // a slot is given up that holds less than it may
)

// Mutants are all of them.
var Mutants = []Mutant{
	SavedBeforeSync, NoSync, AckBeforeCommit, ForgottenVote, FlushNothing, CompactForAll, AppliedBeforeWrite,
	FenceIgnored, NoLeaseCheck, CachedLeaseCheck, NoApplyWait, LatePublish, ReusedReadContext, SelfActivation,
	CountFromReceipt, NoLeaseWait, ImpatientManager, EternalManager, WildClocks, BlindChoice,
	LogBeforeEngine, SavedBeforeInstall, RestartOneOff, ReportLost, CompactUnderWay, WipedFounder, StaleMembership,
	StoppedClock, EarlyReadIndex, EarlyCommit, ReleaseNotForGood, ReleaseUnasked, GrantBeforeRecord, AnotherTerm, NotReady, TermlessLease, MetaForgotten,
	TrimTooFar, TrimBeyondSlot, SlotsUnseen, TrimForgotten, SlotsForgotten, CutAbove, KeepsLess, SlotLostEarly,
}

// mutate takes the fences, or the transactions on metadata, out of what a replica is
// to replay.
func (m *member) mutate(commits []group.Commit) []group.Commit {
	mutant := m.node.w.cfg.Mutant
	if mutant != FenceIgnored && mutant != MetaForgotten || m.node.id != 1 {
		return commits
	}
	changed := make([]group.Commit, len(commits))
	for i, c := range commits {
		changed[i] = c
		changed[i].Entries = make([]*raftpb.Entry, len(c.Entries))
		for j, e := range c.Entries {
			command, err := storepb.DecodeCommand(e.GetData())
			if err == nil && (mutant == FenceIgnored && command.Control.GetFence() != nil || mutant == MetaForgotten && command.Control.GetMetaTxn() != nil) {
				e = proto.CloneOf(e)
				e.Data = nil
			}
			changed[i].Entries[j] = e
		}
	}
	return changed
}
