package group

import (
	"slices"
	"strings"
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
	if !c.leads(1) {
		t.Fatal("durable votes do not count")
	}
	c.grant(1, 1, time.Second)
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

func TestTrap23ALateOrderToHandOverIsRefused(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.appoint(1, Appointment{ID: 2})
	c.grant(1, 2, time.Minute)
	c.run()
	var result TransferResult
	c.peer(1).do(func(r *Replica) {
		r.Transfer(TransferOrder{Appointment: 1, To: 2}, func(t TransferResult, err error) { result = t; c.must(err) })
	})
	if result.Released || !strings.Contains(result.Reason, "older than this leader's appointment") {
		t.Fatalf("an order to release appointment 1 of a leader that has 2: %+v", result)
	}
	c.run()
	if !c.leads(1) || c.peer(1).view.Lease <= c.now {
		t.Fatalf("after a refused order node 1 leads: %v, lease until %d", c.leads(1), c.peer(1).view.Lease)
	}
}

func TestAReleaseIsSeenByReadersAtOnce(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	if c.peer(1).view.Lease <= c.now {
		t.Fatal("no lease to begin with")
	}
	c.peer(1).do(func(r *Replica) { r.Release(1) })
	if c.peer(1).view.Lease != 0 {
		t.Fatalf("after the release readers see a lease until %d", c.peer(1).view.Lease)
	}
}

func TestALeaseIsBoundToItsRaftTerm(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.grant(1, 1, time.Hour)
	old := c.peer(1).role.Term
	c.isolate(1, true)
	c.lead(2, 2)
	c.isolate(1, false)
	c.pass(100 * time.Millisecond)
	c.appoint(1, Appointment{ID: 3})
	c.run()
	if !c.leads(1) || c.peer(1).view.Lease != 0 {
		t.Fatalf("it leads: %v, and holds the lease of its earlier leadership until %d", c.leads(1), c.peer(1).view.Lease)
	}
	used := true
	c.peer(1).do(func(r *Replica) {
		used = r.Grant(lease.Grant{Group: theGroup, Appointment: 3, Term: old, Duration: time.Minute}, c.now)
	})
	if used {
		t.Fatal("a grant for an earlier raft term of the same node counts")
	}
}

// A follower's raft forwards an order to transfer to the leader, which would hand
// over without having released its lease.
func TestTransfersAreOrderedAtTheLeaderAlone(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.peer(1).do(func(r *Replica) {
		r.Transfer(TransferOrder{Appointment: 1, To: 2}, func(TransferResult, error) {})
	})
	c.peer(1).turn()
	c.deliver(c.take(letter{kind: "MsgTimeoutNow"}))
	c.isolate(1, true)
	c.run()
	c.isolate(1, false)
	if !c.leads(2) {
		t.Fatalf("node 2 did not take over: %q", c.story)
	}
	// Node 1 hears of the new leader when the pause is over, in one turn.
	c.now = c.now.Add(c.options.MaxPause)
	c.peer(2).do(func(r *Replica) { r.Tick() })
	c.peer(2).turn()
	c.deliver(c.take(letter{from: 2, to: 1}))
	c.peer(1).turn()
	if sent := c.take(letter{kind: "MsgTransferLeader"}); len(sent) > 0 {
		t.Errorf("a deposed leader takes the leadership back by %v", sent)
	}
	c.run()
	from, to, term, kind := uint64(1), uint64(2), uint64(c.peer(2).role.Term), raftpb.MsgTransferLeader
	c.deliver([]*raftpb.Message{{Type: &kind, From: &from, To: &to, Term: &term}})
	c.run()
	if !c.leads(2) {
		t.Error("a peer's word made the leader hand over")
	}
}

// TestTrap3VotesHaveTimeAfterALongLookAtTheLog: raft reads all that is not replayed
// before it asks for votes, here for longer than votes are waited for.
func TestTrap3VotesHaveTimeAfterALongLookAtTheLog(t *testing.T) {
	c := newCluster(t, 3, DefaultOptions())
	c.appoint(1, Appointment{ID: 1})
	for asked := 0; !c.leads(1); {
		for _, p := range c.peers {
			for p.turn() || p.save() || p.apply() {
				if p.id == 1 && slices.ContainsFunc(c.wire, letter{from: 1, kind: "MsgPreVote"}.matches) {
					if asked++; asked > 3 {
						t.Fatal("it asks for votes anew before it has heard of those that it has")
					}
					c.now = c.now.Add(2 * c.options.CampaignRetry)
					c.deliver(c.take(letter{from: 1, kind: "MsgPreVote"}))
				}
			}
		}
		c.deliver(c.take(letter{}))
	}
}
