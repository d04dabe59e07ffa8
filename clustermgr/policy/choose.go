package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Answer is what one voter said of its replica when all were asked.
type Answer struct {
	Node    pinetree.NodeID
	Zone    string
	Leaders int                   // groups that the node is to lead
	Status  *wirepb.ReplicaStatus // nil when there was no answer
	Avoid   string                // why the node is not to lead as long as another can; empty when it may
}

// Wish is what a choice of a leader is bound by.
type Wish struct {
	Voters int
	Home   string          // zone; empty for none
	Not    pinetree.NodeID // sick; zero for none
	Lag    uint64          // entries committed and not applied that do not count
	Fresh  time.Duration   // how long ago a quorum may have answered a leader
	// Group spreads the choices among equals: of all groups that lose their leader
	// with one node, each of the others is to get a share. With zero the lowest id
	// is taken.
	Group pinetree.GroupID
}

// Choose picks whom to appoint among a quorum's answers: the replica with the
// highest (raft term, index) of its last entry, for only that one surely wins
// and has everything that was acknowledged. A leader that works is left to lead:
// no other could win against it. Among equals it takes one that has replayed its
// log, then the home zone, then the node with the fewest leaders.
//
// A replica that is to be avoided is chosen only when no other can win. Those
// whose logs are as new as a majority's can, and have everything that was
// acknowledged, too.
func Choose(answers []Answer, w Wish) (Answer, error) {
	running := slices.DeleteFunc(slices.Clone(answers), func(a Answer) bool {
		return a.Status == nil || a.Status.GetStopped() != ""
	})
	voters := newestLog(running)
	if err := majority(running, voters, w); err != nil {
		return Answer{}, err
	}
	electors := running
	if len(voters.GetVoters()) > 0 {
		electors = voting(running, voters.GetVoters())
	}
	fit := slices.DeleteFunc(slices.Clone(electors), func(a Answer) bool { return a.Node == w.Not || !a.electable() })
	switch {
	case len(fit) == 0 && w.Not != 0:
		return Answer{}, fmt.Errorf("node %d is the only one that can be elected, and it is sick", w.Not)
	case len(fit) == 0:
		return Answer{}, fmt.Errorf("none of the %d replicas that answered and run can be elected: they are blank, or know themselves as no voters", len(running))
	}
	if leader, found := leading(answers, w.Fresh); found && leader.Node != w.Not {
		return leader, nil
	}
	if welcome := slices.DeleteFunc(slices.Clone(fit), func(a Answer) bool {
		below := slices.DeleteFunc(slices.Clone(electors), func(b Answer) bool { return newer(b.Status, a.Status) > 0 })
		return a.Avoid != "" || majority(below, voters, w) != nil
	}); len(welcome) > 0 {
		fit = welcome
	}
	return slices.MinFunc(fit, func(a, b Answer) int {
		return cmp.Or(
			-newer(a.Status, b.Status),
			cmp.Compare(behind(a.Status, w.Lag), behind(b.Status, w.Lag)),
			cmp.Compare(outside(w.Home, a.Zone), outside(w.Home, b.Zone)),
			cmp.Compare(a.Leaders, b.Leaders),
			cmp.Compare(w.draw(a.Node), w.draw(b.Node)),
			cmp.Compare(a.Node, b.Node),
		)
	}), nil
}

// draw is a node's lot among equals, another one for each group: the finalizer of
// MurmurHash3 over both.
func (w Wish) draw(id pinetree.NodeID) uint64 {
	if w.Group == 0 {
		return 0
	}
	h := uint64(id)<<32 ^ uint64(w.Group)
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// newer compares the ends of two logs.
func newer(a, b *wirepb.ReplicaStatus) int {
	return cmp.Or(cmp.Compare(a.GetLastTerm(), b.GetLastTerm()), cmp.Compare(a.GetLastIndex(), b.GetLastIndex()))
}

// newestLog is the replica that knows best who votes, for a change of the members
// is recorded after it was made.
func newestLog(running []Answer) *wirepb.ReplicaStatus {
	var newest *wirepb.ReplicaStatus
	for _, a := range running {
		if newest == nil || newer(a.Status, newest) > 0 {
			newest = a.Status
		}
	}
	return newest
}

// majority is an error when the replicas are no quorum of those who vote, as the
// one with the newest log says.
func majority(replicas []Answer, voters *wirepb.ReplicaStatus, w Wish) error {
	if len(voters.GetVoters()) == 0 {
		return quorum(replicas, w.Voters)
	}
	halves := [][]uint64{voters.GetVoters()}
	if voters.GetJoint() && len(voters.GetIncoming()) > 0 {
		halves = [][]uint64{voters.GetIncoming(), voters.GetOutgoing()}
	}
	for _, half := range halves {
		if err := quorum(voting(replicas, half), len(half)); err != nil {
			return err
		}
	}
	return nil
}

func voting(running []Answer, voters []uint64) []Answer {
	return slices.DeleteFunc(slices.Clone(running), func(a Answer) bool { return !slices.Contains(voters, uint64(a.Node)) })
}

// quorum is an error when those that answered are no majority of all.
func quorum(answered []Answer, all int) error {
	if need := all/2 + 1; len(answered) < need {
		return fmt.Errorf("%d of %d replicas answered and run, a quorum is %d", len(answered), all, need)
	}
	return nil
}

// electable tells whether raft lets a replica stand for election: one that knows
// itself as a learner, or knows nothing yet, stands in silence.
func (a Answer) electable() bool {
	s := a.Status
	return !s.GetBlank() && (len(s.GetVoters()) == 0 || slices.Contains(s.GetVoters(), uint64(a.Node)))
}

// leading finds the leader that a quorum answers, if there is one.
func leading(answers []Answer, fresh time.Duration) (Answer, bool) {
	for _, a := range answers {
		answered := time.Duration(a.Status.GetQuorumAgeMs())*time.Millisecond <= fresh || a.Status.GetQuiet()
		if a.Status.GetLeader() && a.Status.GetStopped() == "" && answered &&
			!slices.ContainsFunc(answers, func(b Answer) bool { return b.Status.GetRaftTerm() > a.Status.GetRaftTerm() }) {
			return a, true
		}
	}
	return Answer{}, false
}

// behind is how many committed entries are not applied, beyond an allowance.
func behind(s *wirepb.ReplicaStatus, allowed uint64) uint64 {
	if s.GetCommitted() <= s.GetApplied()+allowed {
		return 0
	}
	return s.GetCommitted() - s.GetApplied() - allowed
}

// ErrLags is held by the refusal of a move that nothing stands in the way of but
// that a replica lags, which may pass.
var ErrLags = errors.New("a replica lags")

type tooEarly struct{ error }

func (tooEarly) Is(target error) bool { return target == ErrLags }

// patient is an allowance that no lag passes.
const patient = 1 << 62

// ChooseTarget picks whom to move a leader to: a live voter that is caught up,
// nearest to the home zone, with the fewest leaders, then the furthest log. The
// refusal is ErrLags when waiting may help.
func ChooseTarget(from Answer, others []Answer, w Wish) (Answer, error) {
	fit := slices.DeleteFunc(slices.Clone(others), func(a Answer) bool { return Unfit(from, a, w) != "" })
	if len(fit) == 0 {
		err := fmt.Errorf("no other replica can take over%s", unfitness(from, others, w))
		if w.Lag = patient; slices.ContainsFunc(others, func(a Answer) bool { return Unfit(from, a, w) == "" }) {
			err = tooEarly{err}
		}
		return Answer{}, err
	}
	return slices.MinFunc(fit, func(a, b Answer) int {
		return cmp.Or(
			cmp.Compare(outside(w.Home, a.Zone), outside(w.Home, b.Zone)),
			cmp.Compare(a.Leaders, b.Leaders),
			-cmp.Compare(a.Status.GetLastIndex(), b.Status.GetLastIndex()),
			cmp.Compare(a.Node, b.Node),
		)
	}), nil
}

// Unfit says why a replica cannot take the leadership over from another, or
// nothing.
func Unfit(from, to Answer, w Wish) string {
	switch s := to.Status; {
	case s == nil:
		return "its node is not alive, or has not reported it yet"
	case s.GetStopped() != "":
		return "it stopped: " + s.GetStopped()
	case !to.electable():
		return "it is no voter"
	case to.Avoid != "":
		return to.Avoid
	case s.GetLastIndex()+w.Lag < from.Status.GetLastIndex():
		return fmt.Sprintf("its log is %d entries behind", from.Status.GetLastIndex()-s.GetLastIndex())
	case behind(s, w.Lag) > 0:
		return fmt.Sprintf("it has %d committed entries to replay", s.GetCommitted()-s.GetApplied())
	}
	return ""
}

func unfitness(from Answer, others []Answer, w Wish) string {
	var words string
	for _, a := range others {
		words += fmt.Sprintf("; node %d: %s", a.Node, Unfit(from, a, w))
	}
	return words
}

// NewestAppointment is the highest one that any replica has heard of.
func NewestAppointment(answers []Answer) pinetree.AppointmentID {
	var highest uint64
	for _, a := range answers {
		highest = max(highest, a.Status.GetAppointment(), a.Status.GetReleased())
	}
	return pinetree.AppointmentID(highest)
}
