package membership

import (
	"errors"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/pinetree-db/pinetree"
)

// raftMakes is what raft itself makes of a change.
func raftMakes(t *testing.T, before Members, change *raftpb.ConfChangeV2) Members {
	t.Helper()
	changer := confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0), LastIndex: 10}
	cfg, progress, err := confchange.Restore(changer, confOf(before))
	if err != nil {
		t.Fatal(err)
	}
	changer.Tracker.Config, changer.Tracker.Progress = cfg, progress
	if auto, joint := change.EnterJoint(); joint {
		cfg, progress, err = changer.EnterJoint(auto, change.Changes...)
		if err != nil {
			t.Fatal(err)
		}
		changer.Tracker.Config, changer.Tracker.Progress = cfg, progress
		if half := Of(changer.Tracker.ConfState()); !half.Joint() || !slices.Equal(half.Outgoing, before.Voters) {
			t.Fatalf("in the middle of the change: %+v", half)
		}
		cfg, progress, err = changer.LeaveJoint()
	} else {
		cfg, progress, err = changer.Simple(change.Changes...)
	}
	if err != nil {
		t.Fatal(err)
	}
	changer.Tracker.Config, changer.Tracker.Progress = cfg, progress
	return Of(changer.Tracker.ConfState())
}

func confOf(m Members) *raftpb.ConfState {
	return &raftpb.ConfState{Voters: numbers(m.Voters), VotersOutgoing: numbers(m.Outgoing), Learners: numbers(m.Learners)}
}

func numbers(ids []pinetree.NodeID) []uint64 {
	var list []uint64
	for _, id := range ids {
		list = append(list, uint64(id))
	}
	return list
}

// TestEveryPlanEndsAsItSays goes through all changes of one node or two among
// members that are few.
func TestEveryPlanEndsAsItSays(t *testing.T) {
	const nodes = 5
	subsets := func(fn func([]pinetree.NodeID)) {
		for bits := range 1 << nodes {
			var list []pinetree.NodeID
			for i := range nodes {
				if bits>>i&1 == 1 {
					list = append(list, pinetree.NodeID(i+1))
				}
			}
			fn(list)
		}
	}
	taken := 0
	befores := []Members{
		{Voters: []pinetree.NodeID{1}}, {Voters: []pinetree.NodeID{1, 2}, Learners: []pinetree.NodeID{4}},
		{Voters: []pinetree.NodeID{1, 2, 3}}, {Voters: []pinetree.NodeID{1, 2, 3}, Learners: []pinetree.NodeID{4, 5}},
	}
	for _, before := range befores {
		subsets(func(add []pinetree.NodeID) {
			subsets(func(promote []pinetree.NodeID) {
				subsets(func(remove []pinetree.NodeID) {
					plan, err := Change{Add: add, Promote: promote, Remove: remove}.Plan(before)
					if err != nil {
						if !errors.Is(err, pinetree.ErrBadBatch) {
							t.Fatal(err)
						}
						return
					}
					taken++
					if got := raftMakes(t, before, plan.Raft); !got.Equal(plan.After) {
						t.Fatalf("%+v: add %v, promote %v, remove %v: raft makes %+v, the plan says %+v", before, add, promote, remove, got, plan.After)
					}
				})
			})
		})
	}
	if taken < 100 {
		t.Fatalf("%d changes were planned", taken)
	}
}

func TestNoPlanInTheMiddleOfAChange(t *testing.T) {
	joint := Members{Voters: []pinetree.NodeID{1, 2, 4}, Outgoing: []pinetree.NodeID{1, 2, 3}}
	if _, err := (Change{Add: []pinetree.NodeID{5}}).Plan(joint); !errors.Is(err, pinetree.ErrQueueFull) {
		t.Fatal(err)
	}
}

func TestAQuorumIsOneOfEachHalf(t *testing.T) {
	joint := Members{Voters: []pinetree.NodeID{1, 4, 5}, Outgoing: []pinetree.NodeID{1, 2, 3}}
	for _, c := range []struct {
		yes  []pinetree.NodeID
		want bool
	}{
		{[]pinetree.NodeID{1, 2, 4}, true}, {[]pinetree.NodeID{1, 2, 3}, false}, {[]pinetree.NodeID{1, 4, 5}, false},
		{[]pinetree.NodeID{2, 3, 4, 5}, true}, {nil, false},
	} {
		if got := joint.Quorum(func(id pinetree.NodeID) bool { return slices.Contains(c.yes, id) }); got != c.want {
			t.Errorf("%v: %v", c.yes, got)
		}
	}
	if (Members{}).Quorum(func(pinetree.NodeID) bool { return true }) {
		t.Error("nobody is a quorum of nobody")
	}
}

func TestMembersAreReadBackAndDamageIsSeen(t *testing.T) {
	m := Members{Voters: []pinetree.NodeID{1, 3}, Outgoing: []pinetree.NodeID{1, 2}, Learners: []pinetree.NodeID{7}}
	stored, err := Encode(confOf(m))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := Decode(stored)
	if err != nil || !Of(conf).Equal(m) {
		t.Fatalf("%+v, %v", conf, err)
	}
	if _, err := Decode(stored[:len(stored)-1]); !errors.Is(err, pinetree.ErrCorrupt) {
		t.Fatalf("cut off: %v", err)
	}
	demoted := Of(&raftpb.ConfState{Voters: []uint64{1}, VotersOutgoing: []uint64{1, 2}, LearnersNext: []uint64{2}})
	if demoted.Learns(2) || !demoted.Votes(2) {
		t.Errorf("a voter until the change is through: %+v", demoted)
	}
}

func TestReachedIsWhatAMajorityOfEachHalfHas(t *testing.T) {
	has := func(id pinetree.NodeID) int { return int(id) * 10 }
	for want, m := range map[int]Members{
		0:  {},
		10: {Voters: []pinetree.NodeID{1}},
		20: {Voters: []pinetree.NodeID{1, 2, 3}, Learners: []pinetree.NodeID{9}},
		30: {Voters: []pinetree.NodeID{3, 4}, Outgoing: []pinetree.NodeID{3, 5, 6}},
		40: {Voters: []pinetree.NodeID{5, 6, 7}, Outgoing: []pinetree.NodeID{1, 3, 4, 5, 6}},
	} {
		if got := Reached(m, has); got != want {
			t.Errorf("%+v: %d, want %d", m, got, want)
		}
	}
}
