package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// members is what a leader says of its group.
func members(voters, learners []uint64) *wirepb.ReplicaStatus {
	s := &wirepb.ReplicaStatus{Leader: true, Voters: voters, Learners: learners}
	for _, id := range slices.Concat(voters, learners) {
		s.Members = append(s.Members, &wirepb.MemberProgress{Node: id, Learner: slices.Contains(learners, id), Match: 9, State: "replicate", Active: true})
	}
	return s
}

func learner(change func(*wirepb.MemberProgress)) *wirepb.ReplicaStatus {
	s := members([]uint64{1, 2, 3}, []uint64{4})
	change(s.Members[3])
	return s
}

func TestEachStepOfAChangeFollowsFromTheMembers(t *testing.T) {
	replace, add, remove := Change{Add: 4, Remove: 3}, Change{Add: 4}, Change{Remove: 3}
	joint := members([]uint64{1, 2, 3, 4}, nil)
	joint.Joint = true
	forgotten := members([]uint64{1, 2, 3}, []uint64{4})
	forgotten.Members = nil
	for name, tc := range map[string]struct {
		change          Change
		leader          pinetree.NodeID
		status          *wirepb.ReplicaStatus
		want            ChangeAction
		promote, remove []pinetree.NodeID
		reason          string
	}{
		"a new one learns first":             {replace, 1, members([]uint64{1, 2, 3}, nil), AddLearner, nil, nil, ""},
		"one joint change":                   {replace, 1, members([]uint64{1, 2, 3}, []uint64{4}), ChangeMembers, []pinetree.NodeID{4}, []pinetree.NodeID{3}, ""},
		"half done":                          {replace, 1, joint, AwaitMembers, nil, nil, "half done"},
		"replaced":                           {replace, 1, members([]uint64{1, 2, 4}, nil), RecordMembers, nil, nil, ""},
		"added":                              {add, 1, members([]uint64{1, 2, 3, 4}, nil), RecordMembers, nil, nil, ""},
		"only added":                         {add, 1, members([]uint64{1, 2, 3}, []uint64{4}), ChangeMembers, []pinetree.NodeID{4}, nil, ""},
		"only removed":                       {remove, 1, members([]uint64{1, 2, 3}, nil), ChangeMembers, nil, []pinetree.NodeID{3}, ""},
		"removed":                            {remove, 1, members([]uint64{1, 2}, nil), RecordMembers, nil, nil, ""},
		"the leader is removed":              {remove, 3, members([]uint64{1, 2, 3}, nil), Depose, nil, nil, ""},
		"the leader's successor votes first": {replace, 3, members([]uint64{1, 2, 3}, []uint64{4}), ChangeMembers, []pinetree.NodeID{4}, nil, ""},
		"then the leader hands over":         {replace, 3, members([]uint64{1, 2, 3, 4}, nil), Depose, nil, nil, ""},
		"then it goes":                       {replace, 4, members([]uint64{1, 2, 3, 4}, nil), ChangeMembers, nil, []pinetree.NodeID{3}, ""},
		"the old one went by itself":         {replace, 1, members([]uint64{1, 2}, []uint64{4}), ChangeMembers, []pinetree.NodeID{4}, nil, ""},
		"an addition given up":               {Change{Remove: 4}, 1, members([]uint64{1, 2, 3}, []uint64{4}), ChangeMembers, nil, []pinetree.NodeID{4}, ""},
		"one given up before it began":       {Change{Remove: 4}, 1, members([]uint64{1, 2, 3}, nil), RecordMembers, nil, nil, ""},
		"a snapshot on its way":              {replace, 1, learner(func(m *wirepb.MemberProgress) { m.Snapshot = 7 }), AwaitMembers, nil, nil, "as of index 7 is on its way to node 4"},
		"a silent learner":                   {replace, 1, learner(func(m *wirepb.MemberProgress) { m.Active = false }), AwaitMembers, nil, nil, "node 4 has not answered"},
		"a learner that is probed":           {replace, 1, learner(func(m *wirepb.MemberProgress) { m.State = "probe" }), AwaitMembers, nil, nil, "the end of node 4's log"},
		"a learner with nothing":             {replace, 1, learner(func(m *wirepb.MemberProgress) { m.Match = 0 }), AwaitMembers, nil, nil, "the end of node 4's log"},
		"a leader that tells nothing":        {replace, 1, forgotten, AwaitMembers, nil, nil, "does not say how far node 4 is"},
	} {
		t.Run(name, func(t *testing.T) {
			got := NextStep(tc.change, tc.leader, tc.status)
			if got.Action != tc.want || !slices.Equal(got.Promote, tc.promote) || !slices.Equal(got.Remove, tc.remove) || !strings.Contains(got.Reason, tc.reason) {
				t.Errorf("%+v", got)
			}
			if got.Action == AwaitMembers && got.Reason == "" {
				t.Error("it waits and does not say for what")
			}
		})
	}
}

// TestEveryChangeComesToItsEnd follows the steps from any members to the end, and
// never goes through a group that has less than it had before or is to have.
func TestEveryChangeComesToItsEnd(t *testing.T) {
	for _, c := range []Change{{Add: 4}, {Remove: 3}, {Add: 4, Remove: 3}, {Remove: 4}} {
		for voters := range 16 {
			for learns := range 2 {
				var v, l []uint64
				for id := uint64(1); id <= 4; id++ {
					if voters>>(id-1)&1 == 1 {
						v = append(v, id)
					}
				}
				if learns == 1 && !slices.Contains(v, 4) {
					l = []uint64{4}
				}
				for _, leader := range v {
					if len(v) > 1 || c.Remove != pinetree.NodeID(leader) || c.Add != 0 {
						followChange(t, c, v, l, leader)
					}
				}
			}
		}
	}
}

func followChange(t *testing.T, c Change, v, l []uint64, leader uint64) {
	t.Helper()
	story := fmt.Sprintf("%s, from voters %v, learners %v, led by %d", c, v, l, leader)
	least := len(v)
	if c.Remove != 0 {
		least--
	}
	for range 8 {
		s := NextStep(c, pinetree.NodeID(leader), members(v, l))
		switch s.Action {
		case AddLearner:
			l = append(l, uint64(c.Add))
		case Depose:
			at := slices.IndexFunc(v, func(id uint64) bool { return id != leader })
			if at < 0 {
				t.Fatalf("%s: nobody can take over in %v", story, v)
			}
			leader = v[at]
		case ChangeMembers:
			gone := func(id uint64) bool { return slices.Contains(s.Remove, pinetree.NodeID(id)) }
			for _, id := range s.Promote {
				v = append(v, uint64(id))
				l = nil
			}
			v, l = slices.DeleteFunc(slices.Clone(v), gone), slices.DeleteFunc(slices.Clone(l), gone)
		case RecordMembers:
			if c.Add != 0 && !slices.Contains(v, uint64(c.Add)) || slices.Contains(v, uint64(c.Remove)) || slices.Contains(l, uint64(c.Remove)) {
				t.Fatalf("%s: recorded with voters %v, learners %v", story, v, l)
			}
			return
		default:
			t.Fatalf("%s: it waits: %s", story, s.Reason)
		}
		if !slices.Contains(v, leader) || len(v) < least {
			t.Fatalf("%s: voters %v, led by %d", story, v, leader)
		}
	}
	t.Fatalf("%s: no end", story)
}

func TestAChangeThatAGroupDoesNotSurviveIsRefused(t *testing.T) {
	three := []pinetree.NodeID{1, 2, 3}
	for name, tc := range map[string]struct {
		change Change
		voters []pinetree.NodeID
		dead   []pinetree.NodeID
		says   string
	}{
		"all live":                        {Change{Remove: 3}, three, nil, ""},
		"the dead one goes":               {Change{Remove: 3}, three, []pinetree.NodeID{3}, ""},
		"a living one goes":               {Change{Remove: 2}, three, []pinetree.NodeID{3}, "without them [1 3] have no majority"},
		"the dead one is replaced":        {Change{Add: 4, Remove: 3}, three, []pinetree.NodeID{3}, ""},
		"another one is replaced":         {Change{Add: 4, Remove: 2}, three, []pinetree.NodeID{3}, ""},
		"by a dead one":                   {Change{Add: 4, Remove: 2}, three, []pinetree.NodeID{3, 4}, "have no majority"},
		"a group that has no majority":    {Change{Add: 4, Remove: 3}, three, []pinetree.NodeID{2, 3}, "without them [1 2 3] have no majority"},
		"the last one":                    {Change{Remove: 1}, three[:1], nil, "no replica left"},
		"the last one is replaced":        {Change{Add: 4, Remove: 1}, three[:1], nil, ""},
		"a fourth one, while one is dead": {Change{Add: 4}, three, []pinetree.NodeID{3}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckChange(tc.change, tc.voters, func(id pinetree.NodeID) Health {
				if slices.Contains(tc.dead, id) {
					return Dead
				}
				return Alive
			})
			if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("want %q, got %v", tc.says, err)
			}
		})
	}
}

// TestElectionsGoByTheNewestMembers: the record of a change follows the change, so
// who counts is what the replica with the newest log says.
func TestElectionsGoByTheNewestMembers(t *testing.T) {
	knows := func(index uint64, voters ...uint64) *wirepb.ReplicaStatus {
		return with(log(2, index), func(s *wirepb.ReplicaStatus) { s.Voters = voters })
	}
	halves := func(index uint64) *wirepb.ReplicaStatus {
		return with(knows(index, 1, 2, 3, 4), func(s *wirepb.ReplicaStatus) {
			s.Joint, s.Incoming, s.Outgoing = true, []uint64{1, 2, 4}, []uint64{1, 2, 3}
		})
	}
	blank := with(log(0, 0), func(s *wirepb.ReplicaStatus) { s.Blank = true })
	removed := with(knows(11, 1, 2, 4), func(s *wirepb.ReplicaStatus) { s.Removed, s.Stopped = true, "removed" })
	for name, tc := range map[string]struct {
		statuses []*wirepb.ReplicaStatus // of nodes 1, 2, 3 and 4, of which 1, 2, 3 are recorded
		want     pinetree.NodeID
		err      string
	}{
		"the new one counts":              {[]*wirepb.ReplicaStatus{nil, knows(10, 1, 2, 4), removed, knows(12, 1, 2, 4)}, 4, ""},
		"the old one does not":            {[]*wirepb.ReplicaStatus{nil, knows(12, 1, 2, 4), knows(9, 1, 2, 3), nil}, 0, "1 of 3 replicas answered"},
		"a learner is not chosen":         {[]*wirepb.ReplicaStatus{nil, knows(10, 1, 2, 3), knows(9, 1, 2, 3), knows(10, 1, 2, 3)}, 2, ""},
		"a learner is no answer":          {[]*wirepb.ReplicaStatus{nil, nil, knows(9, 1, 2, 3), knows(10, 1, 2, 3)}, 0, "1 of 3 replicas answered"},
		"a blank one is no answer":        {[]*wirepb.ReplicaStatus{nil, nil, knows(9, 1, 2, 3), blank}, 0, "1 of 3 replicas answered"},
		"a majority of both is asked for": {[]*wirepb.ReplicaStatus{nil, knows(9, 1, 2, 3, 4), nil, knows(10, 1, 2, 3, 4)}, 0, "2 of 4 replicas answered"},
		"one of both halves":              {[]*wirepb.ReplicaStatus{halves(9), halves(10), nil, nil}, 2, ""},
		"one half is not enough":          {[]*wirepb.ReplicaStatus{nil, halves(10), nil, halves(9)}, 0, "1 of 3 replicas answered"},
		"a promotion not replayed yet":    {[]*wirepb.ReplicaStatus{nil, knows(12, 1, 2, 4), nil, knows(13, 1, 2, 3)}, 0, "1 of 3 replicas answered"},
		"one that does not know it votes": {[]*wirepb.ReplicaStatus{knows(12, 2, 3, 4), knows(12, 1, 2, 3, 4), knows(11, 1, 2, 4), knows(11, 1, 2, 3)}, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var answers []Answer
			for i, s := range tc.statuses {
				answers = append(answers, Answer{Node: pinetree.NodeID(i + 1), Status: s})
			}
			got, err := Choose(answers, Wish{Voters: 3, Fresh: time.Second})
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("chose node %d, %v; want an error with %q", got.Node, err, tc.err)
				}
				return
			}
			if err != nil || got.Node != tc.want {
				t.Errorf("chose node %d, %v; want %d", got.Node, err, tc.want)
			}
		})
	}
}

func TestARemovedReplicaStaysUntilEveryLiveMemberKnows(t *testing.T) {
	at := func(h Health, applied uint64) Member {
		return Member{Health: h, Status: &wirepb.ReplicaStatus{Applied: applied}}
	}
	for name, test := range map[string]struct {
		members []Member
		want    bool
	}{
		"all know":             {[]Member{at(Alive, 9), at(Alive, 12)}, true},
		"one is behind":        {[]Member{at(Alive, 9), at(Alive, 8)}, false},
		"the one behind died":  {[]Member{at(Alive, 9), at(Dead, 8)}, true},
		"one has not reported": {[]Member{at(Alive, 9), {Health: Alive}}, false},
	} {
		if got := AllKnow(Situation{Members: test.members}, 9); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
