package group

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/manifest"
)

// leftBehind has a follower whose log lacks entries that its leader has given
// up, and that is reachable again. The snapshot that it needs is held back.
func leftBehind(t *testing.T) (*cluster, *peer) {
	t.Helper()
	o := DefaultOptions()
	o.MaxLogBytes = 200
	c := newLedCluster(t, o)
	c.write(1, 3)
	c.cutOff(3, 1, 40)
	c.peer(1).compact(0)
	c.peer(2).compact(0)
	if first := c.peer(1).first(); first < 20 {
		t.Fatalf("the log was kept for a dead follower: it begins at %d", first)
	}
	c.holdAll = true
	c.isolate(3, false)
	c.pass(3 * c.options.TickInterval)
	return c, c.peer(3)
}

func TestAFollowerThatWasLeftBehindCatchesUpBySnapshot(t *testing.T) {
	c, third := leftBehind(t)
	if m := c.member(1, 3); len(c.orders) != 1 || m.State != "StateSnapshot" || m.Snapshot == 0 {
		t.Fatalf("%d snapshots are ordered; the leader says %+v", len(c.orders), m)
	}
	c.holdAll = false
	c.run()
	c.write(1, 5)
	c.equal(1, 3)
	if at := third.engine.Position(); at.Restored == 0 {
		t.Fatalf("it did not get a snapshot: %+v", at)
	}
	// What it got is as good as what the others have: it may lead.
	c.peer(1).crash(0)
	c.lead(3, 2)
	if !c.leads(3) {
		t.Fatal("a replica that was restored cannot lead")
	}
}

func TestTrap15ALostSnapshotIsSentAgainOnlyAfterItsReport(t *testing.T) {
	c, third := leftBehind(t)
	lost := c.orders[0]
	c.orders = nil
	c.pass(100 * c.options.TickInterval)
	if len(c.orders) > 0 || c.member(1, 3).State != "StateSnapshot" {
		t.Fatal("raft has found out by itself; then no report would be needed")
	}
	reported, again := false, true
	c.peer(1).do(func(r *Replica) { reported, again = r.ReportSnapshot(lost, false), r.ReportSnapshot(lost, false) })
	if !reported || again {
		t.Fatalf("the report counts: %v, and a second one: %v", reported, again)
	}
	c.holdAll = false
	c.pass(5 * c.options.TickInterval)
	c.equal(1, 3)
	if third.engine.Position().Restored == 0 {
		t.Fatal("it was not restored")
	}
}

func TestTrap15AReportOfAnEarlierLeadershipIsNotTakenForTheNextOnes(t *testing.T) {
	c, _ := leftBehind(t)
	old := c.orders[0]
	c.orders = nil
	c.lead(2, 2)
	c.lead(1, 3)
	c.peer(1).compact(0)
	c.pass(3 * c.options.TickInterval)
	if len(c.orders) == 0 {
		t.Fatal("the new leadership does not order a snapshot")
	}
	c.peer(1).do(func(r *Replica) {
		if r.ReportSnapshot(old, false) {
			t.Error("a report of an earlier leadership counts")
		}
	})
	if m := c.member(1, 3); m.State != "StateSnapshot" {
		t.Errorf("the leader says %+v", m)
	}
}

func TestASnapshotWithoutItsStateIsNotTaken(t *testing.T) {
	c, third := leftBehind(t)
	c.deliver([]*raftpb.Message{c.orders[0].Message}) // by the way of other messages
	before := third.engine.Position().Index
	c.run()
	if at := third.engine.Position().Index; at != before || len(third.saves) > 0 {
		t.Fatalf("at %d, it was at %d", at, before)
	}
}

func TestTrap19AManifestIsSmall(t *testing.T) {
	c, _ := leftBehind(t)
	if size := len(c.orders[0].Message.GetSnapshot().GetData()); size == 0 || size > 200 {
		t.Fatalf("the message carries %d bytes; raft copies them several times", size)
	}
}

func TestASnapshotThatIsNotWantedAnyMoreIsThrownAway(t *testing.T) {
	c, third := leftBehind(t)
	c.carryAll()
	c.run()
	at := third.engine.Position().Index
	for _, late := range []func(*raftpb.Message){func(*raftpb.Message) {}, func(m *raftpb.Message) { m.Term = proto.Uint64(m.GetTerm() - 1) }} {
		m, err := third.replica.makeSnapshot()
		c.must(err)
		message := &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: proto.Uint64(1), To: proto.Uint64(3), Term: proto.Uint64(uint64(c.peer(1).role.Term)), Snapshot: m}
		late(message)
		var answer error
		third.do(func(r *Replica) { r.TakeSnapshot(message, func(err error) { answer = err }) })
		if answer == nil {
			t.Errorf("it is taken again")
		}
	}
	c.run()
	if third.replica.stopped != nil || third.engine.Position().Index != at {
		t.Fatalf("it is at %d, stopped: %v", third.engine.Position().Index, third.replica.stopped)
	}
}

func TestACrashInTheMiddleOfAnInstallationLeavesTheOldStateOrTheNewOne(t *testing.T) {
	for name, crash := range map[string]func(c *cluster, p *peer){
		"before the engine":                  func(_ *cluster, p *peer) { p.turn() },
		"between engine and log":             func(_ *cluster, p *peer) { p.turn(); p.takeOver() },
		"the log is written and not durable": func(c *cluster, p *peer) { p.turn(); p.takeOver(); p.log.CrashKeeping(0) },
	} {
		t.Run(name, func(t *testing.T) {
			c, third := leftBehind(t)
			before := third.engine.Position().Index
			c.transfer(c.orders[0], func(error) {})
			c.orders = nil
			crash(c, third)
			c.peer(1).do(func(r *Replica) { r.Unreachable(3) })
			third.crash(0)
			c.must(third.start())
			at := third.engine.Position()
			if taken := at.Restored == at.Index; taken == (name == "before the engine") || !taken && at.Index > before {
				t.Fatalf("it starts at %+v, it was at %d", at, before)
			}
			hard, err := third.log.View(theGroup).HardState()
			c.must(err)
			if hard.GetTerm() < uint64(at.Term) || hard.GetCommit() < uint64(at.Index) && at.Restored != 0 {
				t.Fatalf("hard state %v for a state at %d of raft term %d", hard, at.Index, at.Term)
			}
			c.lead(2, 2) // who knows nothing of a snapshot under way
			c.holdAll = false
			c.pass(5 * c.options.TickInterval)
			c.open(2, theVolume, fence(2))
			c.run()
			c.equal(2, 3)
		})
	}
}

func TestACrashBetweenEngineAndLogIsMendedEvenIfTheLogIsLonger(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.write(1, 3)
	// Node 3 alone has entries of a leadership that came to nothing.
	c.lead(3, 2)
	c.isolate(3, true)
	for range 30 {
		c.peer(3).do(func(r *Replica) { c.must(r.step([]*raftpb.Entry{{Data: []byte("lost")}})) })
		c.run()
	}
	c.lead(1, 3)
	c.open(1, theVolume, fence(2))
	c.run()
	third, at := c.peer(3), c.peer(1).engine.Position()
	last, err := third.log.View(theGroup).LastIndex()
	c.must(err)
	if last <= uint64(at.Index) {
		t.Fatalf("its log ends at %d, the other's state at %d", last, at.Index)
	}
	snapshot, err := c.peer(1).engines.Snapshot(theGroup)
	c.must(err)
	restore, err := third.engines.Restore(theGroup, at)
	c.must(err)
	c.must(snapshot.Chunks(restore.Write))
	c.must(restore.Commit())
	third.crash(0)
	c.must(third.start())
	log := third.log.View(theGroup)
	if last, _ := log.LastIndex(); last != uint64(at.Index) {
		t.Fatalf("the log ends at %d, the state is at %d", last, at.Index)
	}
	c.isolate(3, false)
	c.pass(5 * c.options.TickInterval)
	c.equal(1, 3)
}

func TestAnEngineAheadOfItsLogIsRefusedUnlessASnapshotPutItThere(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.write(1, 20)
	third := c.peer(3)
	_, err := third.engine.Flush()
	c.must(err)
	third.log.Crash()
	c.must(third.log.Remove(theGroup))
	third.crash(0)
	var corrupt *pinetree.CorruptError
	if err := third.start(); !errors.As(err, &corrupt) {
		t.Fatalf("it starts without its log: %v", err)
	}
}

func TestAManifestThatContradictsItselfIsRefused(t *testing.T) {
	c, _ := leftBehind(t)
	good := c.orders[0].Message
	if _, err := manifest.Position(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*raftpb.Message){
		"no snapshot":          func(m *raftpb.Message) { m.Snapshot = nil },
		"another type":         func(m *raftpb.Message) { m.Type = raftpb.MsgApp.Enum() },
		"another index":        func(m *raftpb.Message) { m.Snapshot.Metadata.Index = proto.Uint64(m.Snapshot.Metadata.GetIndex() + 1) },
		"another raft term":    func(m *raftpb.Message) { m.Snapshot.Metadata.Term = proto.Uint64(m.Snapshot.Metadata.GetTerm() + 1) },
		"other members":        func(m *raftpb.Message) { m.Snapshot.Metadata.ConfState.Voters = []uint64{1, 2, 3, 4} },
		"no bytes":             func(m *raftpb.Message) { m.Snapshot.Data = nil },
		"a sender of the past": func(m *raftpb.Message) { m.Term = proto.Uint64(m.Snapshot.Metadata.GetTerm() - 1) },
	} {
		m := proto.CloneOf(good)
		spoil(m)
		if _, err := manifest.Position(m); !errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestANewLeaderKeepsTheLogForThoseItHasNotHeardOf(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.write(1, 10)
	c.isolate(3, true)
	c.write(1, 10)
	at := c.peer(3).engine.Position().Index
	for _, p := range c.peers[:2] { // what they knew of the others is forgotten
		_, err := p.engine.Flush()
		c.must(err)
		p.crash(0)
		c.must(p.start())
	}
	c.lead(2, 2)
	c.pass(time.Second)
	c.open(2, theVolume, fence(2))
	c.pass(time.Second)
	if floor := c.peer(2).replica.Floor(); floor > at {
		t.Fatalf("the log is given up to %d; a member that was not heard yet is at %d", floor, at)
	}
	c.isolate(3, false)
	c.pass(time.Second)
	c.equal(2, 3)
	if c.peer(3).engine.Position().Restored != 0 {
		t.Fatal("it needed a snapshot")
	}
}

func TestTheLogAfterASnapshotIsKeptWhileItIsOnItsWayAndNotForEver(t *testing.T) {
	c, _ := leftBehind(t)
	index := pinetree.RaftIndex(c.orders[0].Message.GetSnapshot().GetMetadata().GetIndex())
	c.write(1, 30)
	c.pass(c.options.InactiveAfter + time.Second)
	if floor := c.peer(1).replica.Floor(); floor > index {
		t.Fatalf("the log is given up to %d, a snapshot at %d is on its way", floor, index)
	}
	c.pass(c.options.SnapshotHold)
	c.write(1, 1)
	c.pass(c.options.TickInterval)
	if floor := c.peer(1).replica.Floor(); floor <= index+20 {
		t.Fatalf("the log is kept for a snapshot that never ends: up to %d", floor)
	}
}
