package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// healthy is a group of three that node 1 leads under appointment 5, in raft
// term 4.
func healthy() Situation {
	s := Situation{
		Record:  lease.Record{Appointment: 5, Node: 1, Holder: 1, Held: 5, Term: 4},
		Created: true, Sick: 1500 * time.Millisecond,
	}
	for id := pinetree.NodeID(1); id <= 3; id++ {
		s.Members = append(s.Members, Member{Node: id, Reported: true, Status: log(4, 10)})
	}
	lead(&s.Members[0], 4, 5)
	return s
}

func lead(m *Member, term, appointment uint64) {
	m.Status = &wirepb.ReplicaStatus{Leader: true, RaftTerm: term, Appointment: appointment}
}

func follow(m *Member) { m.Status = log(4, 10) }

func TestWhatAGroupNeeds(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Situation)
		want   Action
		node   pinetree.NodeID
		reason string
	}{
		"all is well": {func(*Situation) {}, Rest, 0, ""},
		"new":         {func(s *Situation) { *s = Situation{Members: s.Members} }, MakeReplicas, 0, "0 of 3 replicas"},
		"a majority has replicas": {func(s *Situation) {
			s.Record, s.Created, s.Placed = lease.Record{}, false, 2
			follow(&s.Members[0])
		}, Elect, 0, "no leader was ever appointed"},
		"led, one replica missing":   {func(s *Situation) { s.Created, s.Placed = false, 2 }, MakeReplicas, 0, "2 of 3"},
		"leader's node dead":         {func(s *Situation) { s.Members[0].Health = Dead }, Elect, 0, "node 1, which was to lead, is dead"},
		"leader's node silent":       {func(s *Situation) { s.Members[0].Health = Silent }, Rest, 0, ""},
		"silent and not leading":     {func(s *Situation) { s.Members[0].Health = Silent; follow(&s.Members[0]) }, Rest, 0, "is silent"},
		"leader restarted":           {func(s *Situation) { follow(&s.Members[0]) }, Elect, 0, "does not"},
		"replica gone":               {func(s *Situation) { s.Members[0].Status = nil }, Elect, 0, "does not"},
		"not heard in this reign":    {func(s *Situation) { s.Members[0].Status, s.Members[0].Reported = nil, false }, Rest, 0, "has not reported"},
		"leader's replica stopped":   {func(s *Situation) { s.Members[0].Status.Stopped = "bad checksum" }, Elect, 0, "bad checksum"},
		"a follower dead":            {func(s *Situation) { s.Members[2].Health = Dead }, Rest, 0, ""},
		"appointed node is no voter": {func(s *Situation) { s.Record.Node = 9; follow(&s.Members[0]) }, Elect, 0, "no voter"},
		"leader nobody asked for":    {func(s *Situation) { lead(&s.Members[1], 6, 2) }, Adopt, 2, "node 2 leads in raft term 6 under appointment 2"},
		"the same without an appointment": {func(s *Situation) {
			s.Members[0].Health = Dead
			lead(&s.Members[1], 6, 0)
		}, Adopt, 2, "node 2 leads"},
		"older appointment leads on":       {func(s *Situation) { lead(&s.Members[0], 4, 3) }, Adopt, 1, "under appointment 3"},
		"deposed leader of an older term":  {func(s *Situation) { lead(&s.Members[1], 3, 2) }, Rest, 0, ""},
		"deposed leader is all there is":   {func(s *Situation) { follow(&s.Members[0]); lead(&s.Members[1], 3, 2) }, Elect, 0, "node 1"},
		"deposed by one that is dead":      {func(s *Situation) { lead(&s.Members[1], 6, 6); s.Members[1].Health = Dead }, Elect, 0, "does not"},
		"unasked leader on a silent node":  {func(s *Situation) { lead(&s.Members[1], 6, 2); s.Members[1].Health = Silent }, Rest, 0, "was not asked to, and is silent"},
		"leader without quorum":            {func(s *Situation) { s.Members[0].Status.QuorumAgeMs = 1501 }, Elect, 1, "not heard from a quorum"},
		"leader without quorum, just":      {func(s *Situation) { s.Members[0].Status.QuorumAgeMs = 1500 }, Rest, 0, ""},
		"old news of a quorum":             {func(s *Situation) { s.Members[0].Age = 1501 * time.Millisecond }, Elect, 1, "quorum"},
		"leader's disk hangs":              {func(s *Situation) { s.Members[0].FsyncPending = 1501 * time.Millisecond }, Replace, 1, "fsync"},
		"a follower's disk hangs":          {func(s *Situation) { s.Members[1].FsyncPending = time.Hour }, Rest, 0, ""},
		"a follower without quorum is not": {func(s *Situation) { s.Members[1].Status.QuorumAgeMs = 99999 }, Rest, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := healthy()
			tc.change(&s)
			got := Decide(s)
			if got.Action != tc.want || got.Node != tc.node || !strings.Contains(got.Reason, tc.reason) || (tc.reason == "") != (got.Reason == "") {
				t.Fatalf("%s, node %d, %q; want %s, node %d, %q", got.Action, got.Node, got.Reason, tc.want, tc.node, tc.reason)
			}
		})
	}
}
