package group

import (
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
)

// A wiped replica is a voter whose disk was lost and whose node comes back under
// its old id, with a blank replica: trap 14.

func TestTrap14AWipedVoterIsFoundOutByItsLeader(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.write(1, 5)
	third := c.peer(3).wipe()
	c.pass(2 * c.options.TickInterval)
	if why := third.replica.lost; why == nil || !strings.Contains(why.Error(), "its disk was lost") {
		t.Fatalf("it does not say so: %v", why)
	}
	c.isolate(2, true)
	c.must(c.offerSpan(1, pinetree.Record{Prev: 50, LSN: 60}))
	c.pass(time.Second)
	if c.acked(1) != 50 {
		t.Fatal("a wiped replica acknowledged an append")
	}
}

func TestTrap14AWipedVoterElectsNobody(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.isolate(2, true) // it stays without the append that is acknowledged next
	c.write(1, 1)
	c.peer(1).crash(0)
	third := c.peer(3).wipe()
	c.isolate(2, false)
	c.appoint(2, Appointment{ID: 2})
	c.pass(3 * time.Second)
	if c.leads(2) {
		t.Fatal("a stale replica was elected by one that has forgotten all")
	}
	if hard, err := third.log.View(theGroup).HardState(); err != nil || hard.GetVote() != 0 {
		t.Fatalf("it has voted: %v, %v", hard, err)
	}
	c.appoint(3, Appointment{ID: 3})
	c.pass(time.Second)
	if c.leads(3) {
		t.Fatal("a blank replica leads")
	}
}

func TestTrap14AWipedVoterGetsNoStateAndConfirmsNothing(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.write(1, 5)
	c.isolate(3, true)
	c.lead(2, 2) // in a raft term in which it knows nothing of node 3's log
	c.lead(1, 3)
	third := c.peer(3).wipe()
	c.isolate(3, false)
	c.isolate(2, true)
	c.holdAll = true
	c.read(1, "wiped")
	c.pass(c.options.SuspectAfter + time.Second)
	if c.told("read wiped: index") {
		t.Fatalf("a wiped replica confirmed a quorum read: %q", c.story)
	}
	if age := c.peer(1).replica.QuorumAge(); age < c.options.SuspectAfter {
		t.Fatalf("its answers count for the quorum: %v", age)
	}
	c.holdAll = false
	c.run()
	if at := third.engine.Position().Index; at != 0 {
		t.Fatalf("it was given the state at index %d", at)
	}
	if why := third.replica.lost; why == nil || !strings.Contains(why.Error(), "it is a voter at index") {
		t.Fatalf("it was not told why: %v; %q", why, c.story)
	}
}

func TestABlankReplicaTakesNoEntries(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	fourth := c.newPeer().blank()
	c.deliver([]*raftpb.Message{{
		Type: raftpb.MsgApp.Enum(), From: proto.Uint64(1), To: proto.Uint64(4), Term: proto.Uint64(9), Index: proto.Uint64(0), LogTerm: proto.Uint64(0),
		Entries: []*raftpb.Entry{{Index: proto.Uint64(1), Term: proto.Uint64(9), Data: []byte("x")}},
	}})
	c.run()
	if last, err := fourth.log.View(theGroup).LastIndex(); err != nil || last != 0 {
		t.Fatalf("its log ends at %d, %v", last, err)
	}
}

func TestABlankReplicaThatMissesTheFirstMessagesIsFilledAllTheSame(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.write(1, 3)
	c.mustChange(1, add(4)) // nobody is there yet
	c.pass(2 * time.Second)
	c.lead(2, 2) // who has never heard of it
	c.pass(2 * time.Second)
	c.newPeer().blank()
	c.pass(3 * c.options.TickInterval)
	c.equal(2, 4)
}

func TestALearnerWhoseDiskWasLostIsFilledAnewByTheNextLeader(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.write(1, 3)
	fourth := c.grow(1).wipe()
	c.pass(2 * c.options.TickInterval)
	if fourth.replica.lost == nil {
		t.Fatal("the leader takes it for the one that had the log")
	}
	c.lead(2, 2)
	c.pass(3 * c.options.TickInterval)
	c.equal(2, 4)
	if fourth.replica.lost != nil {
		t.Fatal("it has its state again, and says that it is lost")
	}
}

// TestALearnerWhoseDiskWasLostSurvivesAHeartbeatBeyondItsLog has a snapshot from
// before the loss arrive after it: the replica is blank no more, and its leader knows
// it to have more log than that.
func TestALearnerWhoseDiskWasLostSurvivesAHeartbeatBeyondItsLog(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.write(1, 3)
	c.holdAll = true
	fourth := c.newPeer().blank()
	c.mustChange(1, add(4))
	c.pass(c.options.TickInterval)
	twice := c.orders[0]
	c.holdAll = false
	c.run()
	c.peer(1).lazy = true // so the second copy is no newer
	old := fourth.engine.Position().Index
	c.write(1, 5)
	c.run()
	if has, _ := fourth.log.View(theGroup).LastIndex(); pinetree.RaftIndex(has) <= old {
		t.Fatalf("the learner's log ends at %d, and it began at %d", has, old)
	}
	fourth.wipe()
	c.transfer(twice, func(err error) { c.must(err) })
	c.run()
	if at := fourth.engine.Position().Index; at != old {
		t.Fatalf("it is at %d, the snapshot was at %d", at, old)
	}
	c.pass(2 * c.options.TickInterval)
	if why := fourth.replica.lost; why == nil || fourth.replica.stopped != nil {
		t.Fatalf("it says %v, and stopped: %v", why, fourth.replica.stopped)
	}
	c.peer(1).lazy = false
	c.lead(2, 2)
	c.pass(3 * c.options.TickInterval)
	c.equal(2, 4)
}
