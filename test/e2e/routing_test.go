package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	_ "github.com/pinetree-db/pinetree/adapter/resolver"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// zoneReader reads from one zone in every way that any replica may answer, as a
// client that has only just been told where the zone is.
type zoneReader struct {
	stale, bounded, consistent, fresh *ship.Reader
	plain                             *grpc.ClientConn
	volume                            uint64
}

func (c *cluster) readerIn(zone, volume string) zoneReader {
	c.t.Helper()
	client, err := ship.Dial(c.within(10*time.Second), ship.Config{Managers: []string{c.managed}, Volume: volume, Zone: zone})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	plain, err := grpc.NewClient(fmt.Sprintf("pinetree://%s/%s?read=stale&zone=%s", c.managed, volume, zone),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { plain.Close() })
	return zoneReader{
		stale:      client.Reader(ship.ReadConfig{Level: pinetree.ReadStale}),
		bounded:    client.Reader(ship.ReadConfig{Level: pinetree.ReadStale, MaxStaleness: 500 * time.Millisecond}),
		consistent: client.Reader(ship.ReadConfig{Level: pinetree.ReadConsistent}),
		fresh:      client.Reader(ship.ReadConfig{}),
		plain:      plain, volume: uint64(client.Volume()),
	}
}

// read reads once in each way and returns who answered: a client's own readers
// first, the plain stub last.
func (z zoneReader) read(ctx context.Context) ([4]pinetree.NodeID, error) {
	var served [4]pinetree.NodeID
	for i, r := range []*ship.Reader{z.stale, z.bounded, z.consistent} {
		state, err := r.State(ctx)
		if err != nil {
			return served, err
		}
		if i == 1 && (state.Stale < 0 || state.Stale > 500*time.Millisecond) {
			return served, fmt.Errorf("a read bounded to 500ms is %v stale", state.Stale)
		}
		served[i] = state.Node
	}
	answer, err := wirepb.NewReadsClient(z.plain).State(ctx, &wirepb.StateRequest{Volume: z.volume, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE}})
	served[3] = pinetree.NodeID(answer.GetServed().GetNode())
	return served, err
}

// served reads many times and counts who answered. Every read must succeed.
func (z zoneReader) served(t *testing.T, rounds int) map[pinetree.NodeID]int {
	t.Helper()
	count := map[pinetree.NodeID]int{}
	for range rounds {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		nodes, err := z.read(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range nodes {
			count[node]++
		}
	}
	return count
}

// writeOn appends without a pause until the returned function ends it; every
// append must succeed.
func (c *cluster) writeOn(volume string) (written func() pinetree.LSN) {
	c.t.Helper()
	w, err := c.client(volume).OpenWriter(c.within(10*time.Second), ship.WriterConfig{})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	var tail pinetree.LSN
	writing.Go(func() {
		for ctx.Err() == nil {
			limit, done := context.WithTimeout(context.Background(), 20*time.Second)
			err := w.Append(limit, pinetree.Record{Prev: tail, LSN: tail + 10, Payload: []byte("routed")})
			if err == nil {
				err = w.WaitDurable(limit, tail+10)
			}
			done()
			if err != nil {
				c.t.Errorf("append after %s: %v", tail, err)
				return
			}
			tail += 10
			time.Sleep(2 * time.Millisecond)
		}
	})
	stop := sync.OnceFunc(func() { cancel(); writing.Wait() })
	c.t.Cleanup(stop)
	return func() pinetree.LSN { stop(); return tail }
}

// TestReadsAreServedInTheirZone has a node in each of three zones. Then the node
// of one zone dies, then every manager, while a writer writes on.
func TestReadsAreServedInTheirZone(t *testing.T) {
	beside(t)
	c := startCluster(t, 3)
	v := c.createVolume("routed", pinetree.FormatOpaque)
	leader := c.mustLeader(v.Group)
	written := c.writeOn("routed")
	readers := map[*node]zoneReader{}
	for i, n := range c.nodes {
		readers[n] = c.readerIn(string(rune('a'+i)), "routed")
	}
	within(t, 20*time.Second, "reads of every zone, served there", func() error {
		for n, z := range readers {
			if count := z.served(t, 1); count[n.id] != 4 {
				return fmt.Errorf("reads of the zone of %s were served by %v", n.name, count)
			}
		}
		return nil
	})
	for n, z := range readers {
		// A read that is late once on a busy machine is served by the next zone.
		if count := z.served(t, 50); count[n.id] < 180 {
			t.Errorf("200 reads of the zone of %s were served by %v", n.name, count)
		}
	}

	within(t, 10*time.Second, "a route that says how the replicas are", func() error {
		route, err := c.manages().Route(c.within(2*time.Second), &wirepb.RouteRequest{VolumeName: "routed"})
		if err != nil {
			return err
		}
		for i, s := range route.States {
			if n := route.Replicas[i]; !s.Serves || s.AppliedLsn == 0 || s.BehindMs > 1000 || s.AgeMs > 1000 || n.Load == 0 {
				return fmt.Errorf("node %d with load %d: %v", n.Node, n.Load, s)
			}
		}
		return nil
	})
	gone := c.nodes[0]
	if gone == leader {
		gone = c.nodes[1]
	}
	gone.kill()
	if count := readers[gone].served(t, 25); count[gone.id] != 0 {
		t.Errorf("reads were served by a node that is dead: %v", count)
	}

	c.manager.kill()
	before := time.Now()
	for time.Since(before) < 4*time.Second {
		for n, z := range readers {
			count := z.served(t, 5)
			if n != gone && count[n.id] < 15 {
				t.Errorf("without a manager, 20 reads of the zone of %s were served by %v", n.name, count)
			}
		}
		state, err := readers[leader].fresh.State(c.within(10 * time.Second))
		if err != nil {
			t.Fatalf("a default read without a manager: %v", err)
		}
		if time.Since(before) > 3*time.Second && (state.Level != pinetree.ReadConsistent || state.Node != leader.id) {
			t.Errorf("3 s after the last lease, a default read was answered as %v by node %d", state.Level, state.Node)
		}
	}
	end := written()
	if state, err := readers[gone].consistent.State(c.within(10 * time.Second)); err != nil || state.LSN < end {
		t.Errorf("a consistent read is at %s, %s was acknowledged: %v", state.LSN, end, err)
	}
}
