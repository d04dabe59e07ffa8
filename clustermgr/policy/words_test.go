package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// led is a healthy group of three, led by node 1 under a lease.
func led() Account {
	a := Account{
		Situation: Situation{
			Record:  lease.Record{Appointment: 7, Node: 1, Holder: 1, Held: 7, Term: 5},
			Created: true, Placed: 3, Sick: 1500 * time.Millisecond,
		},
		Thresholds: Thresholds{Silent: 450 * time.Millisecond, Dead: 1500 * time.Millisecond},
		Signs:      map[pinetree.NodeID]Sign{}, Office: true, Claimed: true, Left: 480 * time.Millisecond,
	}
	for id := range pinetree.NodeID(3) {
		a.Members = append(a.Members, Member{Node: id + 1, Reported: true, Age: 20 * time.Millisecond, Status: &wirepb.ReplicaStatus{
			RaftTerm: 5, LastTerm: 5, LastIndex: 100, Voters: []uint64{1, 2, 3},
		}})
	}
	s := a.Members[0].Status
	s.Leader, s.Ready, s.Activated, s.Appointment, s.QuorumAgeMs = true, true, true, 7, 10
	return a
}

// gone makes a node of an account silent, or refuse connections.
func gone(a *Account, id pinetree.NodeID, sign Sign) {
	m := &a.Members[id-1]
	m.Health = Silent
	if sign.Refused || sign.Silence > a.Thresholds.Dead {
		m.Health = Dead
	}
	a.Signs[id] = sign
}

// follows makes the leader a follower.
func follows(a *Account) { a.Members[0].Status.Leader = false }

const ms = time.Millisecond

// situations are all that are told of, each with its words.
var situations = map[string]struct {
	change func(*Account)
	words  []string
}{
	"all is well": {func(*Account) {}, []string{
		"node 1 leads in raft term 5 under appointment 7",
		"quorum: 3 of 3 replicas answer; the leader last heard from a quorum 30ms ago",
		"node 1 holds the lease for another 480ms, by the manager's count",
	}},
	"at rest": {func(a *Account) { a.Members[0].Status.Quiet, a.Left = true, 0 }, []string{
		"node 1 leads in raft term 5 under appointment 7; nobody wants anything of the group, so it rests",
		"quorum: 3 of 3 replicas answer",
		"no lease, and none is needed while the group rests",
	}},
	"the leader is silent": {func(a *Account) { gone(a, 1, Sign{Silence: 700 * ms}); follows(a) }, []string{
		"no leader: node 1, which was to lead, is silent for 700ms and dead at 1.5s; then the others are asked (2 of 3 needed)",
		"quorum: 2 of 3 replicas answer: node 1 is silent for 700ms and dead at 1.5s",
		"node 1 holds the lease for another 480ms, by the manager's count",
	}},
	"silent, and it led when it was last heard of": {func(a *Account) { gone(a, 1, Sign{Silence: 700 * ms}) }, []string{
		"node 1 leads in raft term 5 under appointment 7; the node is silent for 700ms and dead at 1.5s",
		"quorum: 2 of 3 replicas answer: node 1 is silent for 700ms and dead at 1.5s",
		"node 1 holds the lease for another 480ms, by the manager's count",
	}},
	"the leader is dead, and another is being appointed": {func(a *Account) {
		gone(a, 1, Sign{Silence: 90 * ms, Refused: true})
		a.Record.Node, a.Record.Appointment, a.Left, a.Doing = 2, 8, 300*ms, "appoint a leader"
	}, []string{
		"no leader: node 2, which was to lead, does not yet",
		"quorum: 2 of 3 replicas answer: node 1 refuses connections, and was last heard of 90ms ago",
		"the next lease waits for that of node 1 to be given back, or to end in 300ms",
		"under way: appoint a leader",
	}},
	"no quorum": {func(a *Account) {
		gone(a, 1, Sign{Silence: 12 * time.Second, Refused: true})
		gone(a, 2, Sign{Silence: 3210 * ms})
		a.Left, a.Failed, a.Again = 0, "node 1, which was to lead, is dead; 1 of 3 replicas answered and run, a quorum is 2", 80*ms
	}, []string{
		"no leader: node 1, which was to lead, refuses connections, and was last heard of 12s ago",
		"no quorum: 1 of 3 replicas answer, and 2 are needed: node 1 refuses connections, and was last heard of 12s ago; node 2 is dead, silent for 3.2s",
		"no lease: nobody leads",
		"the last try failed: node 1, which was to lead, is dead; 1 of 3 replicas answered and run, a quorum is 2; the next one is in 80ms",
	}},
	"replicas that do not count": {func(a *Account) {
		a.Members[1].Status.Stopped = "checksum of entry 9"
		a.Members[2].Status.Blank = true
	}, []string{
		"node 1 leads in raft term 5 under appointment 7",
		"no quorum: 1 of 3 replicas answer, and 2 are needed: the replica on node 2 stopped: checksum of entry 9; " +
			"the replica on node 3 is blank and waits for a snapshot; the leader last heard from a quorum 30ms ago",
		"node 1 holds the lease for another 480ms, by the manager's count",
	}},
	"a manager that has just begun": {func(a *Account) {
		for i := range a.Members {
			a.Members[i].Reported, a.Members[i].Status = false, nil
		}
		a.Claimed, a.Left = false, 3600*ms
	}, []string{
		"no leader: node 1, which was to lead, has not reported to this manager yet",
		"no quorum: 0 of 3 replicas answer, and 2 are needed: node 1 has not reported to this manager yet; " +
			"node 2 has not reported to this manager yet; node 3 has not reported to this manager yet",
		"node 1 holds the lease for another 3.6s, by the manager's count",
	}},
	"the office is not confirmed": {func(a *Account) { a.Office = false }, []string{
		"node 1 leads in raft term 5 under appointment 7",
		"quorum: 3 of 3 replicas answer; the leader last heard from a quorum 30ms ago",
		"no lease is granted: the managers' store does not confirm this manager's office",
	}},
	"not activated": {func(a *Account) {
		a.Members[0].Status.Activated, a.Members[0].Status.Appointment = false, 8
		a.Record.Appointment, a.Left, a.Verdict = 8, 0, lease.HeldElsewhere
	}, []string{
		"node 1 leads in raft term 5 under appointment 8; it acknowledges nothing before its first lease",
		"quorum: 3 of 3 replicas answer; the leader last heard from a quorum 30ms ago",
		"no lease: the lease of the leader before is not over",
	}},
	"a sick leader": {func(a *Account) { a.Members[0].FsyncPending, a.Left, a.Verdict = 2*time.Second, 0, lease.DiskStale }, []string{
		"node 1 leads in raft term 5 under appointment 7, and is to be replaced: node 1 leads and its disk has not finished an fsync for 2.02s",
		"quorum: 3 of 3 replicas answer; the leader last heard from a quorum 30ms ago",
		"no lease: the leader's disk does not finish its fsyncs",
	}},
	"a sick leader among the sick": {func(a *Account) {
		for i := range a.Members {
			a.Members[i].FsyncPending = 2 * time.Second
		}
		a.Members[2].Avoid, a.Held = "it is draining", "3 of 4 nodes fell silent at once"
	}, []string{
		"node 1 leads in raft term 5 under appointment 7; its disk has not finished an fsync for 2.02s, and no other replica is healthier",
		"quorum: 3 of 3 replicas answer; the leader last heard from a quorum 30ms ago",
		"node 1 holds the lease for another 480ms, by the manager's count",
		"node 3 is not to lead as long as another can: it is draining",
		"silence proves nothing now: 3 of 4 nodes fell silent at once",
	}},
	"led by another than was appointed": {func(a *Account) { a.Record.Node, a.Record.Appointment = 2, 8 }, []string{
		"node 1 leads in raft term 5 under appointment 7, and appointment 8, the newest, is node 2's",
		"quorum: 3 of 3 replicas answer; the leader last heard from a quorum 30ms ago",
		"the next lease waits for that of node 1 to be given back, or to end in 480ms",
	}},
	"no claim": {func(a *Account) { a.Claimed, a.Left, a.Members[0].Status.Ready = false, 0, false }, []string{
		"node 1 leads in raft term 5 under appointment 7; it has not replayed an entry of that raft term yet",
		"quorum: 3 of 3 replicas answer; the leader last heard from a quorum 30ms ago",
		"no lease: node 1 has not asked for it lately",
	}},
	"a new group": {func(a *Account) {
		*a = Account{Situation: Situation{Placed: 1}, Signs: a.Signs, Office: true, Doing: "make replicas", Volumes: 3, Deleted: 2}
		for id := range pinetree.NodeID(3) {
			a.Members = append(a.Members, Member{Node: id + 1, Reported: true})
		}
	}, []string{
		"no leader: none was ever appointed",
		"no quorum: 0 of 3 replicas answer, and 2 are needed: node 1 does not know of a replica; node 2 does not know of a replica; node 3 does not know of a replica",
		"no lease: nobody leads",
		"it is being made: 1 of 3 replicas are known to be there",
		"1 of its volumes wait to be made on its leader",
		"2 of its volumes wait to be deleted on its leader",
		"under way: make replicas",
	}},
	"a change of replicas": {func(a *Account) {
		a.Change = "add a replica on node 4: a snapshot is on its way"
		a.Members = append(a.Members, Member{Node: 4, Reported: true, Status: &wirepb.ReplicaStatus{Blank: true}})
	}, []string{
		"node 1 leads in raft term 5 under appointment 7",
		"quorum: 3 of 3 replicas answer; the leader last heard from a quorum 30ms ago",
		"node 1 holds the lease for another 480ms, by the manager's count",
		"its replicas are being changed: add a replica on node 4: a snapshot is on its way",
	}},
	"the replica of the leader stopped": {func(a *Account) {
		follows(a)
		a.Members[0].Status.Stopped, a.Left, a.Failed = "disk error", 0, "node 3 does not answer"
	}, []string{
		"no leader: node 1, which was to lead, has stopped its replica: disk error",
		"quorum: 2 of 3 replicas answer: the replica on node 1 stopped: disk error",
		"no lease: nobody leads",
		"the last try failed: node 3 does not answer",
	}},
	"nobody leads though all is there": {func(a *Account) { follows(a); a.Left = 0 }, []string{
		"no leader: node 1, which was to lead, does not",
		"quorum: 3 of 3 replicas answer",
		"no lease: nobody leads",
	}},
	"the appointed one has no replica": {func(a *Account) { follows(a); a.Record.Node, a.Left = 9, 75*time.Second }, []string{
		"no leader: node 9, which was to lead, has no replica any more",
		"quorum: 3 of 3 replicas answer",
		"the next lease waits for that of node 1 to be given back, or to end in 1m15s",
	}},
	"its files are gone": {func(a *Account) { a.Members[0].Status, a.Left = nil, 0 }, []string{
		"no leader: node 1, which was to lead, does not know of a replica of the group",
		"quorum: 2 of 3 replicas answer: node 1 does not know of a replica",
		"no lease: nobody leads",
	}},
}

func TestAGroupSaysInWordsHowItIs(t *testing.T) {
	for name, tc := range situations {
		t.Run(name, func(t *testing.T) {
			a := led()
			tc.change(&a)
			if got, want := strings.Join(Explain(a), "\n"), strings.Join(tc.words, "\n"); got != want {
				t.Errorf("it says\n%s\nand should say\n%s", got, want)
			}
		})
	}
}

func TestTheInputsOfAChoiceAreTold(t *testing.T) {
	got := Inputs([]Answer{
		{Node: 1}, {Node: 2, Status: log(5, 120)}, {Node: 3, Status: &wirepb.ReplicaStatus{Stopped: "disk error"}},
		{Node: 4, Status: log(5, 119), Avoid: "it is draining"},
	})
	want := "node 1 did not answer, node 2 ends at (5, 120), node 3 has stopped, node 4 ends at (5, 119) and is to be avoided, for it is draining"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
