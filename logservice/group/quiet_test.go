package group

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// quiesce lets the led cluster rest until its leader is quiet.
func quiesce(t *testing.T, c *cluster) {
	t.Helper()
	c.pass(c.options.QuietAfter + 4*c.options.TickInterval)
	if !c.peer(1).replica.Idle() {
		t.Fatal("the leader of a group that nobody uses is still ticked")
	}
}

func quiet(t *testing.T, c *cluster, id int) bool {
	t.Helper()
	s, err := c.peer(id).replica.Status()
	c.must(err)
	return s.Quiet
}

func TestAQuietGroupSendsNothingAndForgetsNothing(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.must(c.offerSpan(1, pinetree.Record{Prev: 0, LSN: 10}))
	c.pass(time.Second)
	if c.peer(1).replica.Idle() {
		t.Error("quiet a second after an append")
	}
	quiesce(t, c)
	c.wire = nil
	for range 100 {
		c.now = c.now.Add(c.options.TickInterval)
		for _, p := range c.peers {
			p.do(func(r *Replica) { r.Tick() })
			p.turn()
		}
	}
	if len(c.wire) != 0 {
		t.Errorf("a quiet group says %v", c.wire)
	}
	for _, p := range c.peers {
		if at := p.engine.Position().Volumes[theVolume].LSN; at != 10 {
			t.Errorf("node %d is quiet at %s, the log ends at A", p.id, at)
		}
		if !p.view.Idle {
			t.Errorf("node %d shows that it is not idle", p.id)
		}
	}
	c.must(c.offerSpan(1, pinetree.Record{Prev: 10, LSN: 20}))
	c.run()
	if acked := c.acked(1); acked != 20 {
		t.Errorf("an append to a quiet group: acknowledged up to %s", acked)
	}
	if c.peer(1).replica.Idle() {
		t.Error("still quiet after an append")
	}
}

func TestWhoeverWantsSomethingWakesAQuietGroup(t *testing.T) {
	for name, wish := range map[string]func(c *cluster){
		"a quorum read at the leader": func(c *cluster) { c.read(1, "it") },
		"a quorum read at a follower": func(c *cluster) { c.read(2, "it") },
		"a planned move": func(c *cluster) {
			c.peer(1).do(func(r *Replica) {
				r.Transfer(TransferOrder{To: 2, Appointment: 1}, func(res TransferResult, err error) {
					if c.must(err); res.Reason != "" {
						t.Errorf("refused: %s", res.Reason)
					}
				})
			})
		},
		"a campaign of another": func(c *cluster) { c.appoint(3, Appointment{ID: 2}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newLedCluster(t, DefaultOptions())
			quiesce(t, c)
			c.now = c.now.Add(time.Minute)
			wish(c)
			c.run()
			if c.peer(1).role.Leads && c.peer(1).replica.Idle() {
				t.Errorf("the leader is still quiet; %q", c.story)
			}
		})
	}
}

func TestReadsUnderTheLeaseKeepALeaderAwake(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	for range 100 {
		c.pass(c.options.TickInterval)
		c.peer(1).do(func(r *Replica) { r.Touch() })
	}
	if c.peer(1).replica.Idle() {
		t.Error("quiet although somebody reads all the time")
	}
}

func TestALeaderWithAMemberThatIsAwayStaysAwake(t *testing.T) {
	for name, away := range map[string]func(c *cluster){
		"behind": func(c *cluster) {
			c.isolate(3, true)
			c.must(c.offerSpan(1, pinetree.Record{Prev: 0, LSN: 10}))
		},
		"silent": func(c *cluster) { c.isolate(3, true) },
		"waiting for its disk": func(c *cluster) {
			c.peer(3).diskHung = true
			c.must(c.offerSpan(1, pinetree.Record{Prev: 0, LSN: 10}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newLedCluster(t, DefaultOptions())
			away(c)
			c.pass(3 * c.options.QuietAfter)
			if c.peer(1).replica.Idle() {
				t.Fatal("the leader went quiet, and would leave the member alone")
			}
			c.isolate(3, false)
			c.peer(3).diskHung = false
			quiesce(t, c)
			if a, b := c.peer(3).engine.Position().Index, c.peer(1).engine.Position().Index; a != b {
				t.Errorf("quiet with a member at %d of %d", a, b)
			}
		})
	}
}

// A leader that was quiet has asked nobody for long. The manager must neither
// take that for an illness nor, before a quorum has answered, for health.
func TestTheAgeOfAQuorumsAnswerCountsOnlyAfterALeaderHasAsked(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	quiesce(t, c)
	c.now = c.now.Add(time.Minute)
	if !quiet(t, c, 1) {
		t.Fatal("the leader does not say that it is quiet")
	}
	c.isolate(1, true)
	c.must(c.offerSpan(1, pinetree.Record{Prev: 0, LSN: 10}))
	c.run()
	c.pass(c.options.SuspectAfter / 2)
	if !quiet(t, c, 1) || c.peer(1).replica.QuorumAge() < time.Minute {
		t.Error("a leader that was quiet counts as sick, or as answered, right after it woke")
	}
	if c.told("node 1: not the leader") {
		t.Error("its writers were sent away at once")
	}
	c.pass(c.options.SuspectAfter)
	if quiet(t, c, 1) {
		t.Error("an isolated leader that woke long ago still says that its silence means nothing")
	}
	c.isolate(1, false)
	c.pass(2 * c.options.TickInterval)
	if age := c.peer(1).replica.QuorumAge(); age > time.Second || quiet(t, c, 1) {
		t.Errorf("answered again: age %v", age)
	}
	if acked := c.acked(1); acked != 10 {
		t.Errorf("acknowledged up to %s", acked)
	}
}

// lateAnswer is an answer to one of the leader's heartbeats, which come at every
// tick and need no question.
func lateAnswer(c *cluster, from uint64) *raftpb.Message {
	to, term := uint64(1), uint64(c.peer(1).role.Term)
	return &raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum(), From: &from, To: &to, Term: &term}
}

func TestALeaderGoesQuietOnlyWhenEveryMemberKnowsTheCommit(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.cut[[2]pinetree.NodeID{1, 3}] = true // what the leader says to node 3 is lost
	for range 100 {
		c.pass(c.options.TickInterval)
		c.deliver([]*raftpb.Message{lateAnswer(c, 3)})
		if c.peer(1).replica.Idle() {
			t.Fatal("quiet, and node 3 was not told of the commit")
		}
	}
	c.cut[[2]pinetree.NodeID{1, 3}] = false
	quiesce(t, c)
}

func TestLateAnswersToHeartbeatsDoNotWakeALeader(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	for c.pass(c.options.QuietAfter); !c.peer(1).replica.Idle(); c.pass(c.options.TickInterval) {
		c.now = c.now.Add(time.Millisecond) // between ticks: heartbeats whose answers come late
		c.wire = append(c.wire, lateAnswer(c, 2), lateAnswer(c, 3))
		if c.now > 1_000_000+lease.Instant(time.Minute) {
			t.Fatal("never quiet")
		}
	}
	c.wire = append(c.wire, lateAnswer(c, 2), lateAnswer(c, 3))
	c.run()
	if !c.peer(1).replica.Idle() {
		t.Error("a late answer woke the leader")
	}
}

func TestFollowersHearOfACommitInTimeWhenNoMoreEntriesCome(t *testing.T) {
	options := DefaultOptions()
	options.CommitDelay = 15 * time.Millisecond
	c := newLedCluster(t, options)
	c.now = c.now.Add(time.Second)
	for lsn := pinetree.LSN(10); lsn <= 30; lsn += 10 {
		c.must(c.offerSpan(1, pinetree.Record{Prev: lsn - 10, LSN: lsn}))
		c.run()
	}
	if at := c.peer(2).engine.Position().Volumes[theVolume].LSN; at != 20 {
		t.Fatalf("while entries came, a follower has replayed up to %s, want what the last ones told: 14", at)
	}
	due := c.peer(1).replica.Deadline()
	if due == 0 || due.Sub(c.now) > options.CommitDelay {
		t.Fatalf("the next turn is due at %d, now is %d", due, c.now)
	}
	c.now = due
	c.run()
	for id := 2; id <= 3; id++ {
		if at := c.peer(id).engine.Position().Volumes[theVolume].LSN; at != 30 {
			t.Errorf("node %d has replayed up to %s of 1E", id, at)
		}
	}
}
