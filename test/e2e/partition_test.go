package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// state reads a volume's state from one node at a level.
func (c *cluster) state(n *node, volume uint64, level wirepb.ReadLevel, limit time.Duration) (*wirepb.StateResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return c.reads(n).State(ctx, &wirepb.StateRequest{Volume: volume, Options: &wirepb.ReadOptions{Level: level}})
}

// alive tells whether a node answers anything at all about itself.
func (c *cluster) alive(n *node) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	status, err := wirepb.NewNodeClient(c.dial(n.addr)).Status(ctx, &wirepb.StatusRequest{})
	if err != nil {
		return err
	}
	for _, r := range status.Replicas {
		if r.Stopped != "" && !r.Removed {
			c.t.Fatalf("%s: the replica of group %d stopped: %s", n.name, r.Group, r.Stopped)
		}
	}
	return nil
}

// newWriter opens the next compute term and ships the records (from, to].
func (c *cluster) newWriter(volume string) *ship.Writer {
	c.t.Helper()
	w, err := c.client(volume).OpenWriter(c.within(20*time.Second), ship.WriterConfig{RetryFor: 30 * time.Second})
	if err != nil {
		c.t.Fatal(err)
	}
	return w
}

func (c *cluster) ship(w *ship.Writer, from, to pinetree.LSN, limit time.Duration) error {
	ctx := c.within(limit)
	for lsn := from; lsn < to; lsn += recordBytes {
		r := pinetree.Record{Prev: lsn, LSN: lsn + recordBytes, Payload: payload(lsn + recordBytes)}
		if err := w.Append(ctx, r); err != nil {
			return err
		}
	}
	return w.Flush(ctx)
}

// TestIsolatedLeaderAcknowledgesNothing cuts the leader off from its peers, but
// neither from clients nor from the manager.
func TestIsolatedLeaderAcknowledgesNothing(t *testing.T) {
	beside(t)
	c := startCluster(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	w := c.newWriter("v")
	if err := c.ship(w, 0, 100*recordBytes, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	term := w.Term()
	old := c.mustLeader(volume.Group)
	if _, err := c.state(old, volume.Volume, wirepb.ReadLevel_DEFAULT, 2*time.Second); err != nil {
		t.Fatalf("default read before the partition: %v", err)
	}
	c.isolate(old, true)
	cut := time.Now()
	acked := make(chan error, 1)
	go func() { acked <- c.offerTo(old, volume.Volume, term, 100*recordBytes) }()

	within(t, 10*time.Second, "another leader with a lease", func() error {
		n, leased, err := c.holder(volume.Group)
		if err == nil && (n == old || !leased) {
			err = fmt.Errorf("%s, leased: %t", n.name, leased)
		}
		return err
	})
	t.Logf("another leader after %v", time.Since(cut).Round(time.Millisecond))
	began := time.Now()
	if s, err := c.state(old, volume.Volume, wirepb.ReadLevel_DEFAULT, 500*time.Millisecond); err == nil {
		t.Errorf("the old leader answered a default read at level %s", s.Served.Level)
	}
	if s, err := c.state(old, volume.Volume, wirepb.ReadLevel_CONSISTENT, 500*time.Millisecond); err == nil {
		t.Errorf("the old leader answered a consistent read: %v", s)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("two reads with 500 ms each took %v", took)
	}
	if err := c.ship(w, 100*recordBytes, 200*recordBytes, 20*time.Second); err != nil {
		t.Fatalf("writing to the new leader: %v", err)
	}
	if s, err := c.state(c.mustLeader(volume.Group), volume.Volume, wirepb.ReadLevel_DEFAULT, 2*time.Second); err != nil || s.Served.Lsn != 200*recordBytes {
		t.Errorf("the new leader's default read: %v, %v", s, err)
	}
	if err := <-acked; err == nil {
		t.Error("the old leader acknowledged an append while it was cut off")
	} else {
		t.Logf("the old leader ended the stream: %v", err)
	}
	c.isolate(old, false)
	c.verify(volume.Volume, 200*recordBytes)
}

// offerTo ships one batch straight to a node and waits for its acknowledgement,
// which must not come; the error is how the stream ended.
func (c *cluster) offerTo(n *node, volume uint64, term pinetree.ComputeTerm, after pinetree.LSN) error {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	stream, err := wirepb.NewComputeClient(c.dial(n.addr)).Ship(ctx)
	if err != nil {
		return err
	}
	b, err := storepb.EncodeBatch(pinetree.VolumeID(volume), term, []pinetree.Record{
		{Prev: after, LSN: after + recordBytes, Payload: payload(after + recordBytes)},
	})
	if err != nil {
		return err
	}
	err = stream.Send(&wirepb.ShipRequest{Volume: volume, ComputeTerm: uint64(term), Batches: [][]byte{b.Encoded}})
	for err == nil {
		var response *wirepb.ShipResponse
		response, err = stream.Recv()
		if err == nil && response.CommittedLsn > uint64(after) {
			return nil
		}
	}
	return err
}
