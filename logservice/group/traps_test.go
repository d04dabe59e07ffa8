package group

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/raftlog"
)

// The tests here are named after traps of raft without self-election: what a
// library that was written for elections by timeout does when there are none.

const theVolume = pinetree.VolumeID(7)

// newLedCluster has node 1 lead, with a volume whose compute term 1 is open.
func newLedCluster(t *testing.T, options Options) *cluster {
	t.Helper()
	c := newCluster(t, 3, options)
	c.lead(1, 1)
	c.create(1, theVolume)
	c.run()
	c.open(1, theVolume, adapter.Fence{Term: 1})
	c.run()
	c.listen(1, theVolume, 1)
	c.run()
	c.story = nil
	return c
}

func (c *cluster) leads(id int) bool { return c.peer(id).replica != nil && c.peer(id).role.Leads }

func (c *cluster) told(what string) bool {
	return slices.ContainsFunc(c.story, func(line string) bool { return strings.Contains(line, what) })
}

func (c *cluster) acked(id int) pinetree.LSN {
	s, err := c.peer(id).replica.Status()
	c.must(err)
	return s.Acked[theVolume]
}

func (c *cluster) offerSpan(id int, span pinetree.Record) error {
	return c.offer(id, newBatch(c.t, theVolume, 1, span))
}

func TestTrap1NobodyCampaignsHoweverLongNothingHappens(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.peer(1).crash(0)
	c.run()
	c.wire = nil
	for range 36_000 { // an hour
		c.now = c.now.Add(c.options.TickInterval)
		for _, p := range c.peers {
			p.do(func(r *Replica) { r.Tick() })
			p.turn()
		}
		if len(c.wire) > 0 {
			t.Fatalf("after %v somebody says %v", time.Duration(c.now), c.wire)
		}
	}
	c.must(c.peer(1).start())
	c.pass(time.Minute)
	if c.leads(1) || c.leads(2) || c.leads(3) {
		t.Fatal("somebody leads without an appointment")
	}
}

func TestTrap3LostVotesAreAskedForAgain(t *testing.T) {
	c := newCluster(t, 3, DefaultOptions())
	c.appoint(2, Appointment{ID: 1})
	for _, lost := range []string{"MsgPreVote", "MsgPreVoteResp", "MsgVote", "MsgVoteResp"} {
		c.held = lost
		c.pass(c.options.CampaignRetry)
		if len(c.take(letter{kind: lost})) == 0 {
			t.Fatalf("no %s was sent", lost)
		}
	}
	if c.leads(2) {
		t.Fatal("it leads without votes")
	}
	// A candidate takes no order to take over from raft; ours asks for votes.
	c.held = ""
	c.pass(2 * c.options.CampaignRetry)
	if !c.leads(2) || !c.told("appointment 1 of node 2: it leads") {
		t.Fatalf("it does not lead when votes get through: %q", c.story)
	}
}

func TestTrap3AnAppointmentThatEndedAsksForNoMoreVotes(t *testing.T) {
	c := newCluster(t, 3, DefaultOptions())
	c.isolate(2, true)
	c.appoint(2, Appointment{ID: 1})
	c.pass(time.Second)
	c.peer(2).do(func(r *Replica) { r.Unappoint(1, errors.New("the manager has given up")) })
	if !c.told("the manager has given up") {
		t.Fatalf("nobody heard of the end: %q", c.story)
	}
	c.isolate(2, false)
	c.pass(time.Second)
	if c.leads(2) {
		t.Fatal("it leads after its appointment ended")
	}
}

func TestTrap4ALiveLeaderEndsACandidacyAndARetryWinsLater(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.held = "MsgPreVoteResp"
	c.appoint(2, Appointment{ID: 2})
	c.run()
	c.pass(c.options.TickInterval) // a heartbeat reaches the candidate
	c.held = ""
	c.run()
	if !c.leads(1) || c.leads(2) {
		t.Fatal("a vote that was asked for before the heartbeat deposed the leader")
	}
	c.isolate(1, true)
	c.pass(2 * c.options.CampaignRetry)
	if !c.leads(2) {
		t.Fatal("the appointed replica does not lead though nobody disturbs it")
	}
}

func TestTrap5AStaleReplicaIsNotElectedAndDeposesNobody(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.isolate(3, true)
	c.must(c.offerSpan(1, pinetree.Record{Prev: 0, LSN: 10}))
	c.run()
	term := c.peer(1).role.Term
	c.isolate(3, false)
	c.held = "MsgApp" // node 3 stays behind
	c.appoint(3, Appointment{ID: 2})
	c.pass(3 * time.Second)
	if c.leads(3) || !c.leads(1) || c.peer(1).role.Term != term {
		t.Fatal("the stale replica's try had an effect")
	}
	c.peer(1).crash(0)
	c.pass(3 * time.Second)
	if c.leads(3) {
		t.Fatal("a replica without an acknowledged append leads")
	}
}

func TestTrap6ATransferToADeadNodeEndsAfterItsPause(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.must(c.offerSpan(1, pinetree.Record{Prev: 0, LSN: 10}))
	c.run()
	c.isolate(2, true)
	for try := range 3 { // asking for the same target again works
		var result *TransferResult
		c.peer(1).do(func(r *Replica) {
			r.Transfer(TransferOrder{Appointment: 1, To: 2}, func(t TransferResult, err error) { result = &t; c.must(err) })
		})
		c.run()
		began := c.now
		prev := pinetree.LSN(10 + 10*try)
		c.must(c.offerSpan(1, pinetree.Record{Prev: prev, LSN: prev + 10}))
		c.run()
		if result != nil || c.acked(1) != prev {
			t.Fatalf("try %d: a proposal went on during the transfer: %+v", try, result)
		}
		if due := c.peer(1).replica.Deadline(); due != began.Add(c.options.MaxPause) {
			t.Fatalf("try %d: the next turn is due at %d, the pause ends at %d", try, due, began.Add(c.options.MaxPause))
		}
		c.now = began.Add(c.options.MaxPause)
		c.run()
		if result == nil || result.Transferred || !result.Released || result.Pause != c.options.MaxPause {
			t.Fatalf("try %d: after the pause: %+v", try, result)
		}
		if c.acked(1) != prev+10 || !c.leads(1) {
			t.Fatalf("try %d: what waited was not proposed after the transfer", try)
		}
	}
}

func TestTrap7AnIsolatedLeaderKeepsLittle(t *testing.T) {
	o := DefaultOptions()
	o.MaxInflightBytes, o.MaxEntryBytes, o.MaxReads = 1000, 200, 5
	o.Queue = adapter.Limits{MaxHeldBytes: 2000, MaxHeldBatches: 100}
	c := newLedCluster(t, o)
	c.isolate(1, true)
	last, err := c.peer(1).log.View(theGroup).LastIndex()
	c.must(err)
	refused := false
	for lsn := pinetree.LSN(0); lsn < 10_000 && !refused; lsn += 10 {
		refused = errors.Is(c.offerSpan(1, pinetree.Record{Prev: lsn, LSN: lsn + 10}), pinetree.ErrQueueFull)
		c.run()
	}
	now, err := c.peer(1).log.View(theGroup).LastIndex()
	c.must(err)
	if !refused || now-last > 20 {
		t.Fatalf("refused: %v; %d entries in the log that nobody confirms", refused, now-last)
	}
	for i := range 8 {
		c.read(1, fmt.Sprint(i))
		c.run()
	}
	if !c.told("quorum reads wait") {
		t.Fatalf("reads are taken without bound: %q", c.story)
	}
	c.wire = nil
	c.pass(10 * time.Second)
	if c.told("index") || c.acked(1) != 0 {
		t.Fatalf("it answers without a quorum: %q", c.story)
	}
	// Raft broadcasts all contexts at once; ours are never many.
	c.isolate(1, false)
	c.pass(time.Second)
	if !c.told("read 0: index") || c.acked(1) == 0 {
		t.Fatalf("it does not go on after the partition: %q", c.story)
	}
}

// Its followers commit without it, so nothing else would keep it from piling up.
func TestALeaderWhoseDiskHangsKeepsLittle(t *testing.T) {
	o := DefaultOptions()
	o.MaxUnsavedBytes, o.MaxEntryBytes = 1000, 200
	o.Queue = adapter.Limits{MaxHeldBytes: 2000, MaxHeldBatches: 100}
	c := newLedCluster(t, o)
	c.peer(1).diskHung = true
	refused, end := false, pinetree.LSN(0)
	for ; end < 10_000 && !refused; end += 10 {
		refused = errors.Is(c.offerSpan(1, pinetree.Record{Prev: end, LSN: end + 10}), pinetree.ErrQueueFull)
		c.run()
	}
	if acked := c.acked(1); !refused || acked == 0 || acked > 1000 {
		t.Fatalf("refused: %v; acknowledged up to %s", refused, acked)
	}
	c.peer(1).diskHung = false
	c.run()
	if acked := c.acked(1); acked != end-10 {
		t.Errorf("with its disk again, acknowledged up to %s of %s", acked, end-10)
	}
}

func TestTrap7ForgottenReadsMakeRoom(t *testing.T) {
	o := DefaultOptions()
	o.MaxReads = 3
	c := newLedCluster(t, o)
	c.isolate(1, true)
	for i := range 20 {
		c.peer(1).do(func(r *Replica) {
			cancel := r.ReadIndex(func(_ pinetree.RaftIndex, err error) {
				if err != nil {
					t.Errorf("read %d: %v", i, err)
				}
			})
			cancel()
		})
		c.pass(c.options.ReadRetry)
	}
}

func TestTrap8AnOldLeaderThatAloneTalksStepsDown(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.isolate(1, true)
	c.lead(2, 2)
	// Only what node 1 says gets through, and the answers.
	c.isolate(1, false)
	c.cut[[2]pinetree.NodeID{2, 1}] = true
	c.pass(time.Second)
	if c.leads(1) || !c.leads(2) {
		t.Fatal("the old leader leads on for ever")
	}
}

func TestTrap9FollowersTakeNothingThatTheyCannotKeep(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	if err := c.offerSpan(2, pinetree.Record{LSN: 10}); !errors.Is(err, pinetree.ErrNotLeader) {
		t.Errorf("offer: %v", err)
	}
	c.create(2, 99)
	c.open(2, theVolume, adapter.Fence{Term: 9})
	c.listen(2, theVolume, 9)
	for _, what := range []string{"create volume 99: group 1: this node is not the leader; node 1", "open term 9: group 1: this node is not", "writer of term 9: group 1"} {
		if !c.told(what) {
			t.Errorf("not refused with the leader's name: %q in %q", what, c.story)
		}
	}
	last, _ := c.peer(1).log.View(theGroup).LastIndex()
	forwarded := &raftpb.Message{
		Type: raftpb.MsgProp.Enum(), From: proto.Uint64(2), To: proto.Uint64(1), Entries: []*raftpb.Entry{{Data: []byte("x")}},
	}
	c.deliver([]*raftpb.Message{forwarded})
	c.run()
	if now, _ := c.peer(1).log.View(theGroup).LastIndex(); now != last {
		t.Error("a proposal of another node was taken")
	}
}

func TestTrap10AnAnswerToAnOlderQuestionIsNone(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.held = "MsgReadIndexResp"
	c.read(2, "first")
	c.run()
	old := c.take(letter{kind: "MsgReadIndexResp"})
	if len(old) == 0 {
		t.Fatal("no answer")
	}
	c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
	c.run()
	c.pass(c.options.ReadRetry) // it asks anew
	c.deliver(old)
	c.run()
	if c.told("read first") {
		t.Fatalf("an answer to the first try was taken for the second: %q", c.story)
	}
	// After a restart the numbers begin anew; the old answers must not match.
	c.take(letter{kind: "MsgReadIndexResp"})
	c.peer(2).crash(0)
	c.must(c.peer(2).start())
	c.pass(time.Second)
	c.read(2, "second")
	c.run()
	c.deliver(old)
	c.run()
	if c.told("read second") {
		t.Fatalf("an answer from before the restart was taken: %q", c.story)
	}
	c.held = ""
	c.pass(2 * c.options.ReadRetry)
	if !c.told("read second: index 5") {
		t.Fatalf("no answer: %q", c.story)
	}
}

func TestTrap11ASingleVoterAnswersNothingBeforeItsOwnTermIsCommitted(t *testing.T) {
	c := newCluster(t, 1, DefaultOptions())
	c.lead(1, 1)
	c.create(1, theVolume)
	c.run()
	if !c.told("create volume 7: done") {
		t.Fatalf("%q", c.story)
	}
	s, err := c.peer(1).replica.Status()
	c.must(err)
	acked := s.Committed
	// The commit index of the acknowledged entry was not synced.
	c.peer(1).crash(0)
	c.must(c.peer(1).start())
	c.story = nil
	c.peer(1).lazy = true // nothing is replayed, so its own entry neither
	c.appoint(1, Appointment{ID: 2})
	c.read(1, "early")
	c.peer(1).turn()
	c.read(1, "a little later")
	c.run()
	c.grant(1, 2, time.Second)
	c.run()
	c.pass(time.Second)
	if !c.leads(1) || c.told("index") {
		t.Fatalf("answered before an entry of its own term was applied: %q", c.story)
	}
	c.peer(1).lazy = false
	c.pass(time.Second)
	if !c.told(fmt.Sprintf("read early: index %d", acked+1)) {
		t.Fatalf("acknowledged up to %d: %q", acked, c.story)
	}
}

// TestTrap12 is the rest of the story "restart": what raft answers by a panic.
func TestTrap12ALogAndAnEngineThatDoNotFitAreRefused(t *testing.T) {
	hard := func(term, commit uint64) *raftpb.HardState {
		return &raftpb.HardState{Term: &term, Vote: proto.Uint64(0), Commit: &commit}
	}
	for name, damage := range map[string]raftlog.Update{
		"the log ends before the engine": {Restart: &raftlog.Point{Index: 3, Term: 1}, HardState: hard(1, 3)},
		"the log begins after it":        {Restart: &raftlog.Point{Index: 30, Term: 2}, HardState: hard(2, 30)},
		"committed beyond the log":       {HardState: hard(2, 1000)},
	} {
		c := newLedCluster(t, DefaultOptions())
		c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
		c.run()
		_, err := c.peer(2).engine.Flush()
		c.must(err)
		c.peer(2).crash(0)
		damage.Group, damage.MustSync = theGroup, true
		c.must(c.peer(2).log.Save([]raftlog.Update{damage}))
		if err := c.peer(2).start(); !errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
