package host

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

// logEnd reads the end of the volume's log at a freshness.
func logEnd(c *cluster, g *Group, level pinetree.ReadLevel, wait time.Duration) (pinetree.LSN, pinetree.ReadLevel, error) {
	var at pinetree.LSN
	answered, err := g.Read(c.ctx(wait), ReadRequest{Volume: theVolume, Level: level}, func(r engine.Reader) error {
		at = r.Position().LSN
		return nil
	})
	return at, answered.Level, err
}

func TestShippedBatchesReachEveryReplica(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	if err := c.ship(g, 1, batches(t, 1, 0, 1000)); err != nil {
		t.Fatal(err)
	}
	for id := pinetree.NodeID(1); id <= 3; id++ {
		at, answered, err := logEnd(c, c.group(id), pinetree.ReadConsistent, 2*time.Second)
		if err != nil || at != 1000 || answered != pinetree.ReadConsistent {
			t.Errorf("node %d: consistent read at %s, %s, %v", id, at, answered, err)
		}
	}
	at, answered, err := logEnd(c, g, pinetree.ReadDefault, time.Second)
	if err != nil || at != 1000 || answered != pinetree.ReadDefault {
		t.Errorf("default read at %s, %s, %v", at, answered, err)
	}
	if _, _, err := logEnd(c, c.group(2), pinetree.ReadDefault, time.Second); !errors.Is(err, pinetree.ErrNotLeader) {
		t.Errorf("default read of a follower: %v", err)
	}
}

func TestNobodyAsksForVotesUnasked(t *testing.T) {
	c := newCluster(t)
	time.Sleep(600 * time.Millisecond) // 30 ticks, three election timeouts
	for id := pinetree.NodeID(1); id <= 3; id++ {
		s, err := c.group(id).Status(c.ctx(time.Second))
		if err != nil || s.Leader || s.RaftTerm != 1 {
			t.Errorf("node %d: %+v, %v", id, s, err)
		}
	}
}

func TestUnactivatedLeaderAcknowledgesNothing(t *testing.T) {
	c := newCluster(t)
	g := c.group(1)
	if err := g.Appoint(c.ctx(time.Second), group.Appointment{ID: 1}); err != nil {
		t.Fatal(err)
	}
	if err := g.CreateVolume(c.ctx(150*time.Millisecond), theVolume, pinetree.FormatOpaque); err == nil {
		t.Error("a volume was created by a leader that no grant activated")
	}
	if _, _, err := logEnd(c, g, pinetree.ReadConsistent, 150*time.Millisecond); !errors.Is(err, pinetree.ErrNoLease) {
		t.Errorf("consistent read before activation: %v", err)
	}
	c.grant(1)
	c.eventually(func() error { return g.CreateVolume(c.ctx(time.Second), theVolume, pinetree.FormatOpaque) })
}

func TestIsolatedLeaderAnswersNoFreshRead(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	if err := c.ship(g, 1, batches(t, 1, 0, 100)); err != nil {
		t.Fatal(err)
	}
	c.isolate(1, true)
	c.stopGrants(1)
	time.Sleep(250 * time.Millisecond) // the lease of 200 ms is over
	if _, _, err := logEnd(c, g, pinetree.ReadDefault, 200*time.Millisecond); !errors.Is(err, pinetree.ErrNoLease) {
		t.Errorf("default read of the old leader: %v", err)
	}
	next := c.appoint(2)
	if _, err := next.Open(c.ctx(time.Second), theVolume, adapter.Fence{}); err != nil {
		t.Fatal(err)
	}
	if err := c.ship(next, 2, batches(t, 2, 100, 200)); err != nil {
		t.Fatal(err)
	}
	if at, _, err := logEnd(c, g, pinetree.ReadStale, time.Second); err != nil || at != 100 {
		t.Errorf("stale read of the old leader: %s, %v", at, err)
	}
	c.isolate(1, false)
	c.eventually(func() error {
		at, _, err := logEnd(c, g, pinetree.ReadStale, time.Second)
		if err != nil || at != 200 {
			return fmt.Errorf("the old leader is at %s, %v", at, err)
		}
		return nil
	})
	if err := c.ship(next, 1, batches(t, 1, 200, 210)); !errors.Is(err, pinetree.ErrStaleComputeTerm) {
		t.Errorf("the replaced writer was told %v", err)
	}
}

func TestTransferMovesLeadershipWithoutLoss(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	if err := c.ship(g, 1, batches(t, 1, 0, 500)); err != nil {
		t.Fatal(err)
	}
	c.stopGrants(1)
	result, err := g.Transfer(c.ctx(2*time.Second), group.TransferOrder{Appointment: c.next, To: 3})
	if err != nil || !result.Released || !result.Transferred {
		t.Fatalf("%+v, %v", result, err)
	}
	t.Logf("pause %v", result.Pause)
	next := c.appoint(3)
	if err := c.ship(next, 1, batches(t, 1, 500, 1000)); err != nil {
		t.Fatal(err)
	}
	if at, _, err := logEnd(c, c.group(1), pinetree.ReadConsistent, 2*time.Second); err != nil || at != 1000 {
		t.Errorf("the old leader reads %s, %v", at, err)
	}
}

func TestTransferToADeadNodeIsTakenBack(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	c.isolate(3, true)
	result, err := g.Transfer(c.ctx(2*time.Second), group.TransferOrder{Appointment: c.next, To: 3})
	if err != nil || result.Transferred || result.Reason == "" {
		t.Fatalf("%+v, %v", result, err)
	}
	c.next++
	if err := g.Appoint(c.ctx(time.Second), group.Appointment{ID: c.next}); err != nil {
		t.Fatal(err)
	}
	if err := c.ship(g, 1, batches(t, 1, 0, 100)); err != nil {
		t.Error(err)
	}
}

func TestRestartReplaysWhatTheEngineForgot(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	if err := c.ship(g, 1, batches(t, 1, 0, 3000)); err != nil {
		t.Fatal(err)
	}
	for id := pinetree.NodeID(1); id <= 3; id++ {
		c.kill(id)
		c.logs[id].(*memlog.Store).Crash()
		c.state[id].(interface{ Crash() }).Crash()
	}
	for id := pinetree.NodeID(1); id <= 3; id++ {
		c.start(id)
	}
	g = c.appoint(2)
	if at, _, err := logEnd(c, g, pinetree.ReadDefault, time.Second); err != nil || at != 3000 {
		t.Fatalf("after power was lost everywhere: %s, %v", at, err)
	}
	if err := c.ship(g, 1, batches(t, 1, 3000, 4000)); err != nil {
		t.Fatal(err)
	}
	resolution, err := g.Resolve(c.ctx(time.Second), theVolume, adapter.Append{Term: 1, LSN: 2500})
	if err != nil || resolution.Outcome != adapter.Committed || resolution.Durable != 4000 {
		t.Errorf("%+v, %v", resolution, err)
	}
}

func TestLogIsCompactedOnlyUpToWhatEveryMemberHas(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	c.isolate(3, true)
	if err := c.ship(g, 1, batches(t, 1, 0, 10)); err != nil {
		t.Fatal(err)
	}
	for lsn := pinetree.LSN(10); lsn < 4000; lsn += 10 {
		if err := c.ship(g, 1, batches(t, 1, lsn, lsn+10)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond)
	first, _ := c.logs[1].View(theGroup).FirstIndex()
	if first > 3 {
		t.Errorf("compacted up to %d while a member lacks all of it", first)
	}
	c.isolate(3, false)
	for id := pinetree.NodeID(1); id <= 3; id++ {
		c.eventually(func() error {
			if first, _ := c.logs[id].View(theGroup).FirstIndex(); first < 100 {
				return fmt.Errorf("node %d: the log still begins at %d", id, first)
			}
			return nil
		})
	}
}

func TestFailedFsyncStopsTheNode(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	c.logs[2].(*memlog.Store).Fail()
	if err := c.ship(g, 1, batches(t, 1, 0, 500)); err != nil {
		t.Fatal(err) // the others are a quorum
	}
	c.eventually(func() error {
		if s, err := c.group(2).Status(c.ctx(time.Second)); err != nil || s.Stopped == nil {
			return fmt.Errorf("%+v, %v", s, err)
		}
		return nil
	})
	if _, _, err := logEnd(c, c.group(2), pinetree.ReadStale, time.Second); !errors.Is(err, pinetree.ErrStopped) {
		t.Errorf("a stopped replica answers %v", err)
	}
}

// logOnly is an engine that keeps opaque volumes alone.
type logOnly struct{ engine.Store }

func (logOnly) Supports(f pinetree.Format) error {
	if f == pinetree.FormatRedo {
		return pinetree.ErrBadBatch
	}
	return nil
}

// Its first write would stop every replica.
func TestAVolumeThatTheEngineDoesNotKeepIsNotCreated(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	g.host.cfg.Engines = logOnly{g.host.cfg.Engines}
	if err := g.CreateVolume(c.ctx(time.Second), theVolume, pinetree.FormatRedo); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("a redo volume in an engine of logs: %v", err)
	}
	c.createVolume(g)
}
