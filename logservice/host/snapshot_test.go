package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/logservice/manifest"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

// ledWithData is a cluster with a leader and 100 records.
func ledWithData(t *testing.T) (*cluster, *Group) {
	t.Helper()
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	if err := c.ship(g, 1, batches(t, 1, 0, 1000)); err != nil {
		t.Fatal(err)
	}
	return c, g
}

func TestASnapshotThatBreaksOffIsSentAgain(t *testing.T) {
	c, g := ledWithData(t)
	var tries atomic.Int32
	c.carry = func(pinetree.NodeID, []byte) error {
		if tries.Add(1) < 3 {
			return errors.New("the connection broke")
		}
		return nil
	}
	fourth := c.addNode(4)
	c.change(g, membership.Change{Add: []pinetree.NodeID{4}})
	c.reads(fourth, 1000)
	if tries.Load() < 3 {
		t.Fatalf("%d chunks were sent", tries.Load())
	}
}

func TestASnapshotThatHangsIsGivenUpAndHoldsUpNobody(t *testing.T) {
	c := newCluster(t)
	c.tune = func(o *Options) { o.SnapshotTimeout = 300 * time.Millisecond }
	c.kill(1)
	c.start(1)
	g := c.appoint(1)
	c.createVolume(g)
	var hangs atomic.Bool
	hangs.Store(true)
	c.carry = func(pinetree.NodeID, []byte) error {
		for deadline := time.Now().Add(5 * time.Second); hangs.Load() && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		return nil
	}
	fourth := c.addNode(4)
	c.change(g, membership.Change{Add: []pinetree.NodeID{4}})
	if err := c.ship(g, 1, batches(t, 1, 0, 1000)); err != nil {
		t.Fatalf("a snapshot that hangs holds up a writer: %v", err)
	}
	hangs.Store(false)
	c.reads(fourth, 1000)
}

func TestACancelledSnapshotLeavesTheStateAsItWas(t *testing.T) {
	c, g := ledWithData(t)
	fourth := c.addNode(4)
	state, err := c.state[1].Snapshot(theGroup)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	at := state.Position()
	conf, err := membership.Encode(&raftpb.ConfState{Voters: []uint64{1, 2, 3}, Learners: []uint64{4}})
	if err != nil {
		t.Fatal(err)
	}
	at.Membership = conf
	s, err := manifest.Of(at)
	if err != nil {
		t.Fatal(err)
	}
	message := &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: proto.Uint64(1), To: proto.Uint64(4), Term: proto.Uint64(2), Snapshot: s}
	ctx, cancel := context.WithCancel(c.ctx(time.Second))
	err = c.hosts[4].TakeSnapshot(ctx, 1, wirepb.GroupMessage{Group: theGroup, Message: message}, func() ([]byte, error) {
		cancel()
		return nil, ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if st, err := fourth.Status(c.ctx(time.Second)); err != nil || !st.Blank || st.Stopped != nil {
		t.Fatalf("%+v, %v", st, err)
	}
	// What is left of it is in nobody's way.
	c.change(g, membership.Change{Add: []pinetree.NodeID{4}})
	c.reads(fourth, 1000)
	for name, wrong := range map[string]struct {
		from pinetree.NodeID
		m    wirepb.GroupMessage
	}{
		"another sender": {2, wirepb.GroupMessage{Group: theGroup, Message: message}},
		"another group":  {1, wirepb.GroupMessage{Group: 99, Message: message}},
		"an old one":     {1, wirepb.GroupMessage{Group: theGroup, Message: message}},
		"no snapshot":    {1, wirepb.GroupMessage{Group: theGroup, Message: &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: proto.Uint64(1), To: proto.Uint64(4)}}},
	} {
		err := c.hosts[4].TakeSnapshot(c.ctx(time.Second), wrong.from, wrong.m, func() ([]byte, error) {
			t.Errorf("%s: the state is asked for", name)
			return nil, errors.New("no")
		})
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestAStartCompletesAnInstallationThatACrashBrokeOff(t *testing.T) {
	c, g := ledWithData(t)
	c.kill(3)
	if err := c.ship(g, 1, batches(t, 1, 1000, 2000)); err != nil {
		t.Fatal(err)
	}
	c.eventually(func() error {
		if at := g.engine.Position(); at.Volumes[theVolume].LSN != 2000 {
			return fmt.Errorf("at %s", at.Volumes[theVolume].LSN)
		}
		return nil
	})
	state, err := c.state[1].Snapshot(theGroup)
	if err != nil {
		t.Fatal(err)
	}
	restore, err := c.state[3].Restore(theGroup, state.Position())
	if err == nil {
		err = state.Chunks(restore.Write)
	}
	if err = errors.Join(err, restore.Commit(), restore.Close(), state.Close()); err != nil {
		t.Fatal(err)
	}
	c.start(3) // the log knows nothing of it yet
	c.reads(c.group(3), 2000)
	if err := c.ship(g, 1, batches(t, 1, 2000, 2500)); err != nil {
		t.Fatal(err)
	}
	c.reads(c.group(3), 2500)
}

func TestAReplicaWhoseEngineWasLostIsNotMadeAnew(t *testing.T) {
	c, _ := ledWithData(t)
	c.kill(3)
	if err := c.state[3].Remove(theGroup); err != nil {
		t.Fatal(err)
	}
	c.start(3)
	h := c.hosts[3]
	for name, err := range map[string]error{
		"as a founder": h.Create(c.ctx(time.Second), theGroup, []pinetree.NodeID{1, 2, 3}),
		"as a blank":   h.CreateBlank(c.ctx(time.Second), theGroup),
	} {
		if !errors.Is(err, pinetree.ErrExists) || !strings.Contains(err.Error(), "its engine was lost") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if last, err := c.logs[3].View(theGroup).LastIndex(); err != nil || last < 2 {
		t.Fatalf("its log ends at %d, %v", last, err)
	}
	// An explicit order takes away what is left; then it may be made anew.
	if err := h.RemoveReplica(c.ctx(time.Second), theGroup); err != nil {
		t.Fatal(err)
	}
	if err := h.CreateBlank(c.ctx(time.Second), theGroup); err != nil {
		t.Fatal(err)
	}
}

func TestOrdersAboutReplicas(t *testing.T) {
	c, g := ledWithData(t)
	if err := c.hosts[1].RemoveReplica(c.ctx(time.Second), theGroup); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("the leader's replica is removed: %v", err)
	}
	if err := c.hosts[1].RemoveReplica(c.ctx(time.Second), 99); err != nil {
		t.Errorf("what is not there: %v", err)
	}
	if err := c.hosts[1].CreateBlank(c.ctx(time.Second), 0); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("group zero: %v", err)
	}
	if err := c.hosts[1].CreateBlank(c.ctx(time.Second), theGroup); err != nil {
		t.Errorf("a replica that is there: %v", err)
	}
	if s, err := g.Status(c.ctx(time.Second)); err != nil || s.Blank {
		t.Errorf("and is not left as it is: %+v, %v", s, err)
	}
	c.change(g, membership.Change{Remove: []pinetree.NodeID{3}})
	c.eventually(func() error {
		if s, err := c.group(3).Status(c.ctx(time.Second)); err != nil || !s.Removed {
			return fmt.Errorf("%+v, %v", s, err)
		}
		return nil
	})
	if err := c.hosts[3].CreateBlank(c.ctx(time.Second), theGroup); !errors.Is(err, pinetree.ErrExists) {
		t.Errorf("a removed replica is made blank: %v", err)
	}
	if _, _, err := logEnd(c, c.group(3), pinetree.ReadStale, time.Second); !errors.Is(err, pinetree.ErrStopped) {
		t.Errorf("a removed replica answers reads: %v", err)
	}
}

// heldEngines hold back the taking over of restored states.
type heldEngines struct {
	engine.Store
	begun, goOn chan struct{}
}

type heldRestore struct {
	engine.Restore
	store heldEngines
}

func (s heldEngines) Restore(g pinetree.GroupID, at pinetree.Position) (engine.Restore, error) {
	r, err := s.Store.Restore(g, at)
	return heldRestore{r, s}, err
}

func (r heldRestore) Commit() error {
	close(r.store.begun)
	<-r.store.goOn
	return r.Restore.Commit()
}

func TestWhatRaftWritesWhileASnapshotIsInstalledComesAfterIt(t *testing.T) {
	c, g := ledWithData(t)
	held := heldEngines{memengine.New(memengine.Options{}), make(chan struct{}), make(chan struct{})}
	c.logs[4], c.state[4] = memlog.New(), held
	c.start(4)
	if err := c.hosts[4].CreateBlank(c.ctx(time.Second), theGroup); err != nil {
		t.Fatal(err)
	}
	c.change(g, membership.Change{Add: []pinetree.NodeID{4}})
	<-held.begun
	c.stopGrants(1)
	c.appoint(2) // a new raft term reaches node 4 in the middle of it
	want, err := c.group(2).Status(c.ctx(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	c.eventually(func() error {
		if s, err := c.group(4).Status(c.ctx(time.Second)); err != nil || s.RaftTerm != want.RaftTerm {
			return fmt.Errorf("%+v, %v", s, err)
		}
		return nil
	})
	close(held.goOn)
	c.reads(c.group(4), 1000)
	c.kill(4)
	log := c.logs[4].View(theGroup)
	hard, err := log.HardState()
	if err != nil || hard.GetTerm() != uint64(want.RaftTerm) {
		t.Fatalf("its log says raft term %d, it was in %d; %v", hard.GetTerm(), want.RaftTerm, err)
	}
}
