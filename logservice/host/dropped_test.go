package host

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const doomed = theVolume + 6

// TestAVolumeIsDroppedOnEveryReplica while it is written, followed and watched: all
// of them hear that there is no such volume, also after a restart, and the other
// volume of the group goes on.
func TestAVolumeIsDroppedOnEveryReplica(t *testing.T) {
	c := newCluster(t)
	leader := c.appoint(1)
	c.createVolume(leader)
	ctx := c.ctx(10 * time.Second)
	if err := leader.CreateVolume(ctx, doomed, pinetree.FormatOpaque); err != nil {
		t.Fatal(err)
	}
	if _, err := leader.Open(ctx, doomed, adapter.Fence{}); err != nil {
		t.Fatal(err)
	}
	s, err := leader.Ship(ctx, doomed, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	writing, written := context.WithCancel(ctx)
	defer written()
	wrote := make(chan error, 1)
	go func() { wrote <- keepWriting(writing, s) }()
	if _, err := leader.MetaTxn(ctx, doomed, meta.Txn{Then: []meta.Op{put("k", "v")}}); err != nil {
		t.Fatal(err)
	}
	watched := make(chan error, 1)
	go func() {
		_, err := c.group(3).FollowMeta(ctx, doomed, 1)
		watched <- err
	}()
	if err := c.ship(leader, 1, batches(t, 1, 0, 10)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // so that there is something in flight
	if _, err := leader.Open(ctx, doomed, adapter.Fence{Term: adapter.EndTerm}); err != nil {
		t.Fatal(err)
	}
	if _, err := leader.Ship(ctx, doomed, adapter.EndTerm); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("a writer whose batches would come after the volume's end: %v", err)
	}
	for range 2 {
		drop := &storepb.Control{Op: &storepb.Control_DropVolume{DropVolume: &storepb.DropVolume{Volume: uint64(doomed)}}}
		if err := leader.Control(ctx, drop); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-wrote; !errors.Is(err, pinetree.ErrUnknownVolume) && !errors.Is(err, pinetree.ErrStaleComputeTerm) {
		t.Errorf("the writer heard %v", err)
	}
	if err := <-watched; err != nil {
		t.Errorf("who followed the metadata heard %v, and is to look for itself", err)
	}
	if _, err := leader.MetaTxn(ctx, doomed, meta.Txn{}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("a transaction: %v", err)
	}
	if err := c.ship(leader, 1, batches(t, 1, 10, 20)); err != nil {
		t.Fatalf("the other volume: %v", err)
	}
	c.goneEverywhere(20)

	// A replica that was down meanwhile replays the same, and so does the next leader.
	c.kill(2)
	c.start(2)
	next := c.appoint(3)
	if err := c.ship(next, 1, batches(t, 1, 20, 30)); err != nil {
		t.Fatalf("at the next leader: %v", err)
	}
	c.goneEverywhere(30)
	if _, err := next.Open(ctx, doomed, adapter.Fence{}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("a writer at the next leader: %v", err)
	}
}

// keepWriting ships batches of the doomed volume until its stream ends.
func keepWriting(ctx context.Context, s *Session) error {
	for lsn := pinetree.LSN(0); ; lsn++ {
		b, err := storepb.EncodeBatch(doomed, 1, []pinetree.Record{{Prev: lsn, LSN: lsn + 1, Payload: []byte("x")}})
		if err != nil {
			return err
		}
		if err := s.Offer(ctx, []pinetree.Batch{b}); err != nil {
			return err
		}
		for {
			if p := s.Progress(); p.Err != nil {
				return p.Err
			} else if p.Committed+100 > lsn {
				break
			}
			select {
			case <-s.Changed():
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// goneEverywhere waits until every replica has the other volume up to an LSN, and
// then wants it to have nothing of the doomed one.
func (c *cluster) goneEverywhere(lsn pinetree.LSN) {
	c.t.Helper()
	for id := range pinetree.NodeID(3) {
		g := c.group(id + 1)
		c.eventually(func() error {
			at := g.engine.Position()
			if _, there := at.Volumes[doomed]; there || at.Volumes[theVolume].LSN != lsn {
				return fmt.Errorf("node %d has the volumes %v", id+1, at.Volumes)
			}
			return nil
		})
		if _, err := g.host.Volume(doomed); !errors.Is(err, pinetree.ErrUnknownVolume) {
			c.t.Errorf("node %d finds the volume: %v", id+1, err)
		}
		if owner, err := g.host.Volume(theVolume); err != nil || owner != g {
			c.t.Errorf("node %d does not find the other volume: %v", id+1, err)
		}
		if stopped := g.view.Load().Stopped; stopped != nil {
			c.t.Errorf("node %d: %v", id+1, stopped)
		}
	}
}
