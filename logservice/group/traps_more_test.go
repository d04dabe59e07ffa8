package group

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/lease"
)

func TestTrap13NothingIsPromisedBeforeItIsDurable(t *testing.T) {
	c := newCluster(t, 3, DefaultOptions())
	for _, p := range c.peers {
		p.diskHung = true
	}
	c.appoint(1, Appointment{ID: 1})
	c.run()
	if c.leads(1) {
		t.Fatal("it leads on votes that a crash would forget")
	}
	for _, p := range c.peers {
		p.save()
	}
	c.run()
	for _, p := range c.peers {
		p.save()
	}
	c.run()
	if !c.leads(1) {
		t.Fatal("durable votes do not count")
	}
	c.peer(1).diskHung = false
	c.run()
	s, err := c.peer(1).replica.Status()
	c.must(err)
	if s.Committed != 1 || s.Ready {
		t.Fatalf("committed %d on the disk of the leader alone", s.Committed)
	}
	c.peer(2).diskHung = false
	c.run()
	if s, _ = c.peer(1).replica.Status(); !s.Ready {
		t.Fatal("a durable majority does not count")
	}
}

func TestTrap18ALeaderThatTicksRepairsALostWindow(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.isolate(3, true)
	for lsn := pinetree.LSN(0); lsn < 5000; lsn += 10 { // more than raft keeps in flight
		c.must(c.offerSpan(1, pinetree.Record{Prev: lsn, LSN: lsn + 10}))
		c.run()
	}
	c.isolate(3, false)
	c.run()
	if got := c.peer(3).engine.Position().Volumes[theVolume].LSN; got != 0 {
		t.Fatalf("it is at %d before the leader ticked", got)
	}
	c.pass(500 * time.Millisecond)
	if got := c.peer(3).engine.Position().Volumes[theVolume].LSN; got != 5000 {
		t.Fatalf("after five ticks it is at %d", got)
	}
}

func TestTrap20OnlyWordsOfPeersAreBelieved(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	before := c.peer(2).describe()
	hang := func(m *raftpb.Message) *raftpb.Message {
		m.Term = proto.Uint64(99)
		return m
	}
	c.deliver([]*raftpb.Message{
		hang(&raftpb.Message{Type: raftpb.MsgHup.Enum(), From: proto.Uint64(1), To: proto.Uint64(2)}),
		hang(&raftpb.Message{Type: raftpb.MsgStorageAppendResp.Enum(), From: proto.Uint64(1), To: proto.Uint64(2)}),
		hang(&raftpb.Message{Type: raftpb.MsgStorageApplyResp.Enum(), From: proto.Uint64(1), To: proto.Uint64(2)}),
		hang(&raftpb.Message{Type: raftpb.MsgCheckQuorum.Enum(), From: proto.Uint64(1), To: proto.Uint64(2)}),
	})
	for _, kind := range []raftpb.MessageType{raftpb.MsgApp, raftpb.MsgHeartbeat, raftpb.MsgVote, raftpb.MsgTimeoutNow} {
		for _, p := range c.peers { // meant for somebody else, as after a mix-up of addresses
			p.do(func(r *Replica) {
				r.Receive(hang(&raftpb.Message{Type: kind.Enum(), From: proto.Uint64(2), To: proto.Uint64(9)}))
			})
		}
	}
	c.run()
	if after := c.peer(2).describe(); after != before || !c.leads(1) {
		t.Fatalf("node 2 was %q and is %q", before, after)
	}
}

func TestTrap20RaftsPanicsPanic(t *testing.T) {
	for name, call := range map[string]func(raftLogger){
		"Panic":  func(l raftLogger) { l.Panic("x") },
		"Panicf": func(l raftLogger) { l.Panicf("%d", 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s returns, and raft would go on", name)
				}
			}()
			call(raftLogger{})
		}()
	}
}

func TestTrap21ALeaderThatIsNotHeardFromDoesNoHarm(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	for _, from := range []pinetree.NodeID{2, 3} {
		c.cut[[2]pinetree.NodeID{from, 1}] = true // its followers hear it, it hears nobody
	}
	c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
	c.read(1, "deaf")
	c.pass(c.options.SuspectAfter + time.Second)
	if c.told("index") || c.acked(1) != 0 {
		t.Fatalf("it answers without hearing a quorum: %q", c.story)
	}
	if age := c.peer(1).replica.QuorumAge(); age < c.options.SuspectAfter {
		t.Fatalf("it reports a quorum %v ago; the manager would not replace it", age)
	}
	if !c.told("this node is not the leader") {
		t.Fatalf("its writer was not sent away: %q", c.story)
	}
	c.lead(2, 2)
	if !c.leads(2) {
		t.Fatal("nobody else can lead")
	}
	c.open(2, theVolume, adapter.Fence{Term: 1})
	c.run()
	if !c.told("open term 1: durable 10") {
		t.Fatalf("what had reached the followers is not there: %q", c.story)
	}
}

// TestTrap22 is the rest of the story "activation": a read that waited while its
// replica was elected.
func TestTrap22AReadThatWaitedForAnElectionWaitsForTheActivation(t *testing.T) {
	c := newCluster(t, 3, DefaultOptions())
	c.held = "MsgVoteResp"
	c.appoint(1, Appointment{ID: 1})
	c.run()
	// The votes and the read come between two turns: raft leads already.
	c.deliver(c.take(letter{kind: "MsgVoteResp"}))
	c.read(1, "early")
	c.held = ""
	c.run()
	c.pass(time.Second)
	if !c.leads(1) || c.told("index") {
		t.Fatalf("answered before the activation: %q", c.story)
	}
	c.grant(1, 1, time.Second)
	c.pass(time.Second)
	if !c.told("read early: index 2") {
		t.Fatalf("not answered after the activation: %q", c.story)
	}
}

func TestTrap22AForwardedReadIsNotKeptForTheActivation(t *testing.T) {
	c := newCluster(t, 3, DefaultOptions())
	c.appoint(1, Appointment{ID: 1})
	c.run()
	c.read(2, "early")
	c.run()
	if c.told("index") || len(c.take(letter{kind: "MsgReadIndexResp"})) > 0 {
		t.Fatalf("%q", c.story)
	}
	// Activated, it answers what is asked from now on: the question before was
	// not kept, and is asked again.
	c.grant(1, 1, time.Second)
	c.run()
	if c.told("index") {
		t.Fatalf("an old question was kept: %q", c.story)
	}
	c.pass(c.options.ReadRetry + c.options.TickInterval)
	if !c.told("read early: index") {
		t.Fatalf("%q", c.story)
	}
}

func TestTrap23TheLeaseIsGoneBeforeTheTargetHearsOfATransfer(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.grant(1, 1, time.Minute)
	c.run()
	if c.peer(1).view.Lease <= c.now {
		t.Fatal("no lease to begin with")
	}
	c.peer(1).do(func(r *Replica) {
		r.Transfer(TransferOrder{Appointment: 1, To: 2}, func(TransferResult, error) {})
	})
	if c.peer(1).view.Lease != 0 || len(c.wire) > 0 {
		t.Fatalf("readers still see a lease until %d; on the wire: %v", c.peer(1).view.Lease, c.wire)
	}
	// A grant that was on its way does not bring it back.
	if c.grant(1, 1, time.Minute) {
		t.Fatal("a grant of a released appointment counts")
	}
	c.peer(1).turn()
	if !slices.ContainsFunc(c.wire, func(m *raftpb.Message) bool { return m.GetType() == raftpb.MsgTimeoutNow }) {
		t.Fatalf("the target was not told: %v", c.wire)
	}
}

func TestALeaseIsBoundToItsRaftTerm(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	old := c.peer(1).role.Term
	c.isolate(1, true)
	c.lead(2, 2)
	c.isolate(1, false)
	c.pass(time.Second)
	c.lead(1, 3)
	used := true
	c.peer(1).do(func(r *Replica) {
		used = r.Grant(lease.Grant{Group: theGroup, Appointment: 3, Term: old, Duration: time.Minute}, c.now)
	})
	if used {
		t.Fatal("a grant for an earlier raft term of the same node counts")
	}
}

// A follower answers what it hears from an older raft term with an empty
// message in its own. The one who had sent it may lead again by then.
func TestAnAnswerToAnOlderLeadershipIsNoProgress(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.held = "MsgHeartbeat"
	for _, p := range c.peers {
		p.do(func(r *Replica) { r.Tick() })
	}
	c.run()
	late := c.take(letter{kind: "MsgHeartbeat"})
	c.held = ""
	c.isolate(1, true)
	c.lead(2, 2)
	c.isolate(1, false)
	c.pass(time.Second)
	c.isolate(2, true)
	c.appoint(1, Appointment{ID: 3})
	c.held = "MsgApp" // node 3 has not answered the new leader
	c.run()
	c.deliver(late)
	c.run()
	c.held = ""
	c.grant(1, 3, time.Second)
	c.pass(time.Second)
	c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
	c.pass(time.Second)
	if c.acked(1) != 10 {
		t.Fatalf("the group stands still: acknowledged up to %d; %s; %s", c.acked(1), c.peer(1).describe(), c.peer(3).describe())
	}
}

// A leader may be elected before its own disk has what it leads with.
func TestTheFloorOfANewLeaderIsWhatItsDiskHas(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.pass(200 * time.Millisecond)
	c.peer(2).diskHung = true
	c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
	c.run()
	durable, err := c.peer(2).log.View(theGroup).LastIndex()
	c.must(err)
	c.appoint(2, Appointment{ID: 2})
	c.run()
	if !c.leads(2) {
		t.Fatal("two other votes do not count")
	}
	c.pass(200 * time.Millisecond)
	if floor := c.peer(2).replica.Floor(); uint64(floor) > durable {
		t.Fatalf("the floor is %d, its disk has the log up to %d", floor, durable)
	}
	c.peer(2).diskHung = false
	c.pass(200 * time.Millisecond)
	if floor := c.peer(2).replica.Floor(); uint64(floor) <= durable {
		t.Fatalf("the floor stays at %d", floor)
	}
}

func TestOpenDoesNotRefuseAWriterWhoseFenceMayBeLost(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.isolate(1, true)
	c.open(1, theVolume, adapter.Fence{Term: 2})
	c.run()
	c.open(1, theVolume, adapter.Fence{Term: 1})
	c.run()
	if len(c.story) > 0 {
		t.Fatalf("answered before the fence is committed or lost: %q", c.story)
	}
	c.lead(2, 2)
	c.isolate(1, false)
	c.pass(time.Second)
	if c.told("fenced for good") || !c.told("open term 1: group 1: this node is not the leader") {
		t.Fatalf("%q", c.story)
	}
}

func TestOpenOnADeposedLeaderWaitsForAQuorum(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.isolate(1, true)
	c.lead(2, 2)
	c.must(c.offerSpan(2, pinetree.Record{LSN: 10}))
	c.run()
	if c.acked(2) != 10 {
		t.Fatal("not acknowledged")
	}
	c.open(1, theVolume, adapter.Fence{Term: 1})
	c.pass(10 * time.Second)
	if c.told("open term 1: durable") {
		t.Fatalf("the deposed leader tells an old durable LSN: %q", c.story)
	}
}

func TestABatchOfATermThatIsBeingOpenedIsRefused(t *testing.T) {
	c := newCluster(t, 3, DefaultOptions())
	c.lead(1, 1)
	c.create(1, theVolume)
	c.run()
	c.open(1, theVolume, adapter.Fence{Term: 1, Base: 100})
	// The writer has not heard of its base, and begins where it believes.
	if err := c.offerSpan(1, pinetree.Record{Prev: 0, LSN: 120}); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("offer: %v", err)
	}
	c.run()
	for _, p := range c.peers {
		if s, err := p.replica.Status(); err != nil || s.Stopped != nil {
			t.Errorf("node %d: %v, %v", p.id, s.Stopped, err)
		}
	}
	c.must(c.offerSpan(1, pinetree.Record{Prev: 100, LSN: 120}))
	c.run()
	if c.acked(1) != 120 {
		t.Errorf("acknowledged up to %d", c.acked(1))
	}
}

func TestTheCommittedWatermarkOutlivesTheLeadership(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.peer(1).lazy = true
	c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
	c.run()
	before, err := c.peer(1).replica.Watermarks(theVolume)
	c.must(err)
	c.isolate(1, true)
	c.lead(2, 2)
	c.isolate(1, false)
	c.pass(time.Second)
	after, err := c.peer(1).replica.Watermarks(theVolume)
	c.must(err)
	if c.leads(1) || before.Committed != 10 || after.Committed < before.Committed {
		t.Fatalf("committed %d while it led, %d now", before.Committed, after.Committed)
	}
}

func TestAReplicaThatStopsTellsAllWhoWait(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.isolate(1, true)
	c.read(1, "x")
	c.create(1, 99)
	c.open(1, theVolume, adapter.Fence{Term: 5})
	c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
	c.run()
	c.peer(1).do(func(r *Replica) { r.Stop(errors.New("the disk is on fire")) })
	for _, who := range []string{"read x", "create volume 99", "open term 5", "writer of term 1"} {
		if !c.told(fmt.Sprintf("%s: stopped: the disk is on fire", who)) {
			t.Errorf("%s was told nothing: %q", who, c.story)
		}
	}
	if v := c.peer(1).view; v.Stopped == nil || v.Leads {
		t.Errorf("readers see %+v", v)
	}
	c.read(1, "y")
	c.appoint(1, Appointment{ID: 9})
	if !c.told("read y: stopped") || !c.told("appointment 9 of node 1: stopped") {
		t.Errorf("it takes new work: %q", c.story)
	}
}
