package group

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/logservice/membership"
)

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
	c.held = "MsgApp" // node 3 has not heard of the new leader's log
	c.run()
	c.take(letter{kind: "MsgApp"})
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

// A follower that asked the old leader for an index may read a little later. If
// it showed what a leader that is not activated has committed, a read under the
// old leader's lease would then go back in time.
func TestNothingIsCommittedBeforeTheActivation(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.grant(1, 1, time.Minute)
	c.held = "MsgAppResp" // the followers have the append, the leader does not know
	c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
	c.run()
	c.take(letter{kind: "MsgAppResp"})
	c.held = ""
	c.isolate(1, true)
	c.appoint(2, Appointment{ID: 2})
	c.pass(time.Second)
	if !c.leads(2) {
		t.Fatal("node 2 does not lead")
	}
	for _, p := range c.peers {
		if at := p.engine.Position().Volumes[theVolume].LSN; at != 0 {
			t.Fatalf("node %d shows %d; the holder of the lease does not", p.id, at)
		}
	}
	c.grant(2, 2, time.Minute)
	c.run()
	if at := c.peer(3).engine.Position().Volumes[theVolume].LSN; at != 10 {
		t.Fatalf("after the activation node 3 shows %d", at)
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
	c.grant(2, 2, time.Second)
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

func TestReadersDoNotKeepAWriterFromOpening(t *testing.T) {
	o := DefaultOptions()
	o.MaxReads = 1
	c := newLedCluster(t, o)
	c.held = "MsgHeartbeatResp" // the reader waits for its quorum
	c.read(1, "x")
	c.run()
	c.open(1, theVolume, adapter.Fence{Term: 1})
	c.run()
	c.held = ""
	c.run()
	if !c.told("read x: index") || !c.told("open term 1: durable 0") {
		t.Fatalf("%q", c.story)
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

func TestAControlIsToldWhenItIsAppliedHere(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.peer(1).lazy = true
	c.create(1, 99)
	c.open(1, theVolume, adapter.Fence{Term: 2})
	c.run()
	if len(c.story) > 0 {
		t.Fatalf("told before it can be used: %q", c.story)
	}
	c.peer(1).lazy = false
	c.run()
	if !c.told("create volume 99: done") || !c.told("open term 2: durable 0") {
		t.Fatalf("%q", c.story)
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

// Raft does not know that its replica has stopped, and goes on believing to lead.
func TestAStoppedReplicaLeadsNoMoreWhateverItIsAsked(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.peer(1).do(func(r *Replica) { r.Stop(errors.New("its disk has failed")) })
	for name, ask := range map[string]func(*Replica){
		"a transfer": func(r *Replica) { r.Transfer(TransferOrder{To: 2, Appointment: 1}, func(TransferResult, error) {}) },
		"a volume":   func(r *Replica) { r.CreateVolume(99, pinetree.FormatOpaque, func(error) {}) },
		"an opening": func(r *Replica) { r.Open(theVolume, adapter.Fence{Term: 9}, func(Opened, error) {}) },
		"a change": func(r *Replica) {
			r.ChangeMembership(membership.Change{Remove: []pinetree.NodeID{3}}, func(membership.Members, error) {})
		},
		"a tick": func(r *Replica) { r.Tick() },
		"a turn": func(r *Replica) { r.Turn() },
	} {
		c.peer(1).do(ask)
		if c.peer(1).replica.Role().Leads {
			t.Errorf("%s made a stopped replica lead", name)
		}
	}
}

func TestAppendsDoNotWaitForTheReplayOfAControlBeforeThem(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.peer(1).lazy = true
	c.create(1, 99)
	c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
	c.run()
	if acked := c.acked(1); acked != 10 || c.told("create volume") {
		t.Fatalf("acknowledged up to %s; %q", acked, c.story)
	}
	c.pass(3 * time.Second)
	c.must(c.offerSpan(1, pinetree.Record{Prev: 10, LSN: 20}))
	c.run()
	if s, err := c.peer(1).replica.Status(); err != nil || c.acked(1) != 20 || s.CommitTime >= time.Second {
		t.Errorf("a commit takes %v, acknowledged up to %s, %v", s.CommitTime, c.acked(1), err)
	}
	c.peer(1).lazy = false
	c.run()
	if !c.told("create volume 99: done") || c.peer(1).replica.flight.bytes != 0 {
		t.Errorf("%q, and %d bytes are in flight", c.story, c.peer(1).replica.flight.bytes)
	}
}
