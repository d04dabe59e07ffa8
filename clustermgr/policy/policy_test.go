package policy

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestReplicasAreSpreadOverZonesAndLoad(t *testing.T) {
	sites := []Site{
		{Node: 1, Zone: "a", Replicas: 5}, {Node: 2, Zone: "a", Replicas: 1}, {Node: 3, Zone: "b", Replicas: 9},
		{Node: 4, Zone: "c", Replicas: 2}, {Node: 5, Zone: "c", Replicas: 2},
	}
	for name, tc := range map[string]struct {
		count int
		home  string
		want  []pinetree.NodeID
	}{
		"one takes the least loaded":           {1, "", []pinetree.NodeID{2}},
		"one takes the home zone":              {1, "b", []pinetree.NodeID{3}},
		"three take each zone":                 {3, "", []pinetree.NodeID{2, 3, 4}},
		"five take all":                        {5, "", []pinetree.NodeID{1, 2, 3, 4, 5}},
		"an unknown home zone does not matter": {3, "z", []pinetree.NodeID{2, 3, 4}},
	} {
		if got, err := Place(sites, tc.count, tc.home); err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, tc.want)
		}
	}
	for _, count := range []int{0, 2, 4, 9} {
		if _, err := Place(sites, count, ""); !errors.Is(err, ErrReplicas) {
			t.Errorf("%d replicas: %v", count, err)
		}
	}
	if _, err := Place(sites, 7, ""); !errors.Is(err, ErrTooFewNodes) {
		t.Errorf("7 replicas on 5 nodes: %v", err)
	}
	oneZone := []Site{{Node: 1, Zone: "a"}, {Node: 2, Zone: "a"}, {Node: 3, Zone: "a"}}
	if got, err := Place(oneZone, 3, "a"); err != nil || len(got) != 3 {
		t.Errorf("one zone: %v, %v", got, err)
	}
}

// log makes the status of a follower by the end of its log.
func log(term, index uint64) *wirepb.ReplicaStatus {
	return &wirepb.ReplicaStatus{RaftTerm: term, LastTerm: term, LastIndex: index, Committed: index, Applied: index}
}

func with(s *wirepb.ReplicaStatus, change func(*wirepb.ReplicaStatus)) *wirepb.ReplicaStatus {
	change(s)
	return s
}

func TestTheNewestLogOfAQuorumIsAppointed(t *testing.T) {
	stop := func(s *wirepb.ReplicaStatus) { s.Stopped = "checksum" }
	lag := func(s *wirepb.ReplicaStatus) { s.Applied -= 10 }
	leads := func(s *wirepb.ReplicaStatus) { s.Leader = true }
	for name, tc := range map[string]struct {
		statuses [3]*wirepb.ReplicaStatus
		wish     Wish
		want     pinetree.NodeID
		err      string
	}{
		"longest log":                      {[3]*wirepb.ReplicaStatus{log(2, 10), log(2, 12), log(2, 11)}, Wish{}, 2, ""},
		"later term before longer log":     {[3]*wirepb.ReplicaStatus{log(2, 99), log(3, 12), log(2, 11)}, Wish{}, 2, ""},
		"home zone among equals":           {[3]*wirepb.ReplicaStatus{log(2, 10), log(2, 10), log(2, 10)}, Wish{Home: "zone-3"}, 3, ""},
		"no home zone over a longer log":   {[3]*wirepb.ReplicaStatus{log(2, 11), log(2, 10), log(2, 10)}, Wish{Home: "zone-3"}, 1, ""},
		"fewest leaders among equals":      {[3]*wirepb.ReplicaStatus{log(2, 10), log(2, 10), log(2, 10)}, Wish{}, 3, ""},
		"replayed before fewest leaders":   {[3]*wirepb.ReplicaStatus{log(2, 10), log(2, 10), with(log(2, 10), lag)}, Wish{}, 2, ""},
		"a small lag does not count":       {[3]*wirepb.ReplicaStatus{log(2, 10), log(2, 10), with(log(2, 10), lag)}, Wish{Lag: 10}, 3, ""},
		"one is silent":                    {[3]*wirepb.ReplicaStatus{nil, log(2, 10), log(2, 11)}, Wish{}, 3, ""},
		"two are silent":                   {[3]*wirepb.ReplicaStatus{nil, nil, log(2, 11)}, Wish{}, 0, "1 of 3 replicas answered and run, a quorum is 2"},
		"a stopped one is no answer":       {[3]*wirepb.ReplicaStatus{nil, with(log(9, 99), stop), log(2, 11)}, Wish{}, 0, "a quorum is 2"},
		"a stopped one is not chosen":      {[3]*wirepb.ReplicaStatus{log(2, 10), with(log(9, 99), stop), log(2, 11)}, Wish{}, 3, ""},
		"the sick one is not chosen":       {[3]*wirepb.ReplicaStatus{log(2, 10), log(2, 10), log(2, 11)}, Wish{Not: 3}, 2, ""},
		"a working leader leads on":        {[3]*wirepb.ReplicaStatus{log(2, 10), with(log(2, 9), leads), log(2, 11)}, Wish{}, 2, ""},
		"a sick leader does not":           {[3]*wirepb.ReplicaStatus{log(2, 10), with(log(2, 12), leads), log(2, 11)}, Wish{Not: 2}, 3, ""},
		"a deposed leader does not":        {[3]*wirepb.ReplicaStatus{log(3, 10), with(log(2, 9), leads), log(2, 11)}, Wish{}, 1, ""},
		"a leader without quorum does not": {[3]*wirepb.ReplicaStatus{log(2, 10), with(with(log(2, 9), leads), func(s *wirepb.ReplicaStatus) { s.QuorumAgeMs = 1001 }), log(2, 11)}, Wish{}, 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var answers []Answer
			for i, s := range tc.statuses {
				id := pinetree.NodeID(i + 1)
				answers = append(answers, Answer{Node: id, Zone: "zone-" + string('0'+rune(id)), Leaders: 3 - int(id), Status: s})
			}
			tc.wish.Voters, tc.wish.Fresh = 3, time.Second
			got, err := Choose(answers, tc.wish)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("chose node %d, %v; want an error with %q", got.Node, err, tc.err)
				}
				return
			}
			if err != nil || got.Node != tc.want {
				t.Fatalf("chose node %d, %v; want %d", got.Node, err, tc.want)
			}
		})
	}
}

func TestAMoveGoesToAReplicaThatIsCaughtUp(t *testing.T) {
	from := Answer{Node: 1, Status: with(log(2, 100), func(s *wirepb.ReplicaStatus) { s.Leader = true })}
	others := []Answer{
		{Node: 2, Zone: "a", Leaders: 0, Status: log(2, 80)},
		{Node: 3, Zone: "b", Leaders: 2, Status: log(2, 95)},
		{Node: 4, Zone: "a", Leaders: 1, Status: with(log(2, 100), func(s *wirepb.ReplicaStatus) { s.Applied = 50 })},
		{Node: 5, Zone: "b", Leaders: 1, Status: log(2, 99)},
	}
	if got, err := ChooseTarget(from, others, Wish{Lag: 10}); err != nil || got.Node != 5 {
		t.Errorf("chose node %d, %v; want 5", got.Node, err)
	}
	if got, err := ChooseTarget(from, others, Wish{Lag: 20, Home: "a"}); err != nil || got.Node != 2 {
		t.Errorf("with a home zone: node %d, %v; want 2", got.Node, err)
	}
	_, err := ChooseTarget(from, []Answer{others[0], others[3], {Node: 6}}[:1], Wish{Lag: 10})
	if err == nil || !strings.Contains(err.Error(), "node 2: its log is 20 entries behind") {
		t.Errorf("only a lagging one: %v", err)
	}
	if _, err := ChooseTarget(from, []Answer{others[2], {Node: 6}}, Wish{Lag: 10}); err == nil ||
		!strings.Contains(err.Error(), "50 committed entries to replay") || !strings.Contains(err.Error(), "node 6: its node is not alive, or has not reported it yet") {
		t.Errorf("one that has not replayed and one that is gone: %v", err)
	}
}

func TestSilenceIsNotDeathAndRefusalIs(t *testing.T) {
	limits := Thresholds{Silent: 450 * time.Millisecond, Dead: 1500 * time.Millisecond}
	start := lease.Instant(time.Hour)
	at := func(ms int) lease.Instant { return start.Add(time.Duration(ms) * time.Millisecond) }
	var v Vitals
	v.Hear(start)
	v.Connect()
	for ms, want := range map[int]Health{0: Alive, 450: Alive, 451: Silent, 1500: Silent, 1501: Dead} {
		if got := v.Health(at(ms), limits); got != want {
			t.Errorf("after %d ms of silence: %v, want %v", ms, got, want)
		}
	}
	if v.WantsProbe(at(450), limits) || !v.WantsProbe(at(451), limits) {
		t.Error("a connected node is asked only when it is silent")
	}
	v.Disconnect()
	if !v.WantsProbe(at(1), limits) {
		t.Error("a broken stream is not followed by a question at once")
	}
	v.ProbeBegins(at(1))
	if v.WantsProbe(at(300), limits) {
		t.Error("asked twice at a time")
	}
	v.ProbeEnds(at(2), false, true)
	if got := v.Health(at(2), limits); got != Dead {
		t.Errorf("after a refused connection: %v", got)
	}
	if v.WantsProbe(at(400), limits) {
		t.Error("a dead node is asked again; it is to register")
	}
	v.Hear(at(10))
	if got := v.Health(at(10), limits); got != Alive {
		t.Errorf("after it was heard of again: %v", got)
	}
	// A probe that began before the node came back proves nothing.
	v.ProbeBegins(at(20))
	v.Hear(at(21))
	v.ProbeEnds(at(22), false, true)
	if got := v.Health(at(22), limits); got != Alive {
		t.Errorf("a late refusal: %v", got)
	}
	v.ProbeBegins(at(900))
	v.ProbeEnds(at(1100), false, false)
	if got := v.Health(at(1100), limits); got != Silent {
		t.Errorf("a probe without an answer: %v", got)
	}
	v.ProbeBegins(at(1200))
	v.ProbeEnds(at(1201), true, false)
	if got := v.Health(at(1600), limits); got != Alive {
		t.Errorf("after an answered probe: %v", got)
	}
}

func TestAReplicaToBeAvoidedLeadsOnlyWhenNoOtherCanWin(t *testing.T) {
	for name, tc := range map[string]struct {
		logs  [3]*wirepb.ReplicaStatus
		avoid []pinetree.NodeID
		want  pinetree.NodeID
	}{
		"among equals":              {[3]*wirepb.ReplicaStatus{log(2, 10), log(2, 10), log(2, 10)}, []pinetree.NodeID{1}, 2},
		"with the newest log":       {[3]*wirepb.ReplicaStatus{log(2, 12), log(2, 10), log(2, 11)}, []pinetree.NodeID{1}, 3},
		"the only ones that can":    {[3]*wirepb.ReplicaStatus{log(2, 12), log(2, 10), log(2, 11)}, []pinetree.NodeID{1, 3}, 1},
		"one of two that answer":    {[3]*wirepb.ReplicaStatus{log(2, 12), log(2, 10), nil}, []pinetree.NodeID{1}, 1},
		"two equals that answer":    {[3]*wirepb.ReplicaStatus{log(2, 12), log(2, 12), nil}, []pinetree.NodeID{1}, 2},
		"when all are":              {[3]*wirepb.ReplicaStatus{log(2, 10), log(2, 12), log(2, 11)}, []pinetree.NodeID{1, 2, 3}, 2},
		"of a later raft term only": {[3]*wirepb.ReplicaStatus{log(3, 10), log(2, 30), log(2, 30)}, []pinetree.NodeID{1}, 2},
	} {
		var answers []Answer
		for i, s := range tc.logs {
			a := Answer{Node: pinetree.NodeID(i + 1), Status: s}
			if slices.Contains(tc.avoid, a.Node) {
				a.Avoid = "it drains"
			}
			answers = append(answers, a)
		}
		if got, err := Choose(answers, Wish{Voters: 3, Fresh: time.Second}); err != nil || got.Node != tc.want {
			t.Errorf("%s: chose node %d, %v; want %d", name, got.Node, err, tc.want)
		}
	}
	// In a joint membership both halves must be won.
	joint := func(s *wirepb.ReplicaStatus) {
		s.Voters, s.Joint, s.Incoming, s.Outgoing = []uint64{1, 2, 3, 4}, true, []uint64{1, 2, 3}, []uint64{1, 2, 4}
	}
	answers := []Answer{
		{Node: 1, Status: with(log(2, 12), joint), Avoid: "it drains"}, {Node: 2, Status: with(log(2, 10), joint)},
		{Node: 3, Status: with(log(2, 11), joint)}, {Node: 4, Status: with(log(2, 12), joint)},
	}
	if got, err := Choose(answers, Wish{Voters: 3, Fresh: time.Second}); err != nil || got.Node != 4 {
		t.Errorf("joint: chose node %d, %v; want 4", got.Node, err)
	}
	answers[3].Avoid = "it drains"
	if got, err := Choose(answers, Wish{Voters: 3, Fresh: time.Second}); err != nil || got.Node != 1 {
		t.Errorf("joint, and node 3 is behind all others of the outgoing half: chose node %d, %v; want 1", got.Node, err)
	}
}

func TestEachRefusalOfAMoveSaysWhy(t *testing.T) {
	from := Answer{Node: 1, Status: with(log(2, 100), func(s *wirepb.ReplicaStatus) { s.Leader = true })}
	change := func(change func(*wirepb.ReplicaStatus)) Answer {
		return Answer{Node: 2, Status: with(log(2, 100), change)}
	}
	for name, tc := range map[string]struct {
		to    Answer
		words string
		lags  bool
	}{
		"not heard of": {Answer{Node: 2}, "not alive, or has not reported it yet", false},
		"stopped":      {change(func(s *wirepb.ReplicaStatus) { s.Stopped = "a bad checksum" }), "it stopped: a bad checksum", false},
		"a learner":    {change(func(s *wirepb.ReplicaStatus) { s.Voters = []uint64{1, 3} }), "it is no voter", false},
		"blank":        {change(func(s *wirepb.ReplicaStatus) { s.Blank = true }), "it is no voter", false},
		"draining":     {Answer{Node: 2, Status: log(2, 100), Avoid: "its node is draining"}, "its node is draining", false},
		"behind":       {change(func(s *wirepb.ReplicaStatus) { s.LastIndex = 89 }), "its log is 11 entries behind", true},
		"not replayed": {change(func(s *wirepb.ReplicaStatus) { s.Applied = 89 }), "it has 11 committed entries to replay", true},
		"just fit":     {change(func(s *wirepb.ReplicaStatus) { s.LastIndex, s.Applied = 90, 90 }), "", false},
	} {
		_, err := ChooseTarget(from, []Answer{tc.to}, Wish{Lag: 10})
		switch {
		case tc.words == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case err == nil || !strings.Contains(err.Error(), "node 2: ") || !strings.Contains(err.Error(), tc.words) || errors.Is(err, ErrLags) != tc.lags:
			t.Errorf("%s: %v, may pass: %v; want %q, %v", name, err, errors.Is(err, ErrLags), tc.words, tc.lags)
		}
	}
}

// TestARefusalToChooseSaysWhy: nobody is said to be sick when nobody is.
func TestARefusalToChooseSaysWhy(t *testing.T) {
	blank := func(node pinetree.NodeID) Answer {
		return Answer{Node: node, Status: &wirepb.ReplicaStatus{Blank: true}}
	}
	answers := []Answer{blank(1), blank(2), blank(3)}
	if _, err := Choose(answers, Wish{Voters: 3}); err == nil || !strings.Contains(err.Error(), "none of the 3 replicas") {
		t.Errorf("blank replicas: %v", err)
	}
	answers[1].Status = &wirepb.ReplicaStatus{}
	if _, err := Choose(answers, Wish{Voters: 3, Not: 2}); err == nil || !strings.Contains(err.Error(), "node 2 is the only one") {
		t.Errorf("blank replicas beside a sick one: %v", err)
	}
}
