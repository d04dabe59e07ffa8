package host

import (
	"context"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/lag"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// slowEngines replay so many bytes a second.
type slowEngines struct {
	engine.Store
	rate int
}

func (s slowEngines) Open(id pinetree.GroupID) (engine.Engine, error) {
	e, err := s.Store.Open(id)
	return slowEngine{e, s.rate}, err
}

type slowEngine struct {
	engine.Engine
	rate int
}

func (e slowEngine) Apply(w engine.Write) error {
	bytes := 0
	for _, b := range w.Batches {
		bytes += b.Size()
	}
	time.Sleep(time.Second * time.Duration(bytes) / time.Duration(e.rate))
	return e.Engine.Apply(w)
}

func TestWritersGoAtThePaceOfALeaderThatIsSlow(t *testing.T) {
	paced(t, 1, func(*cluster) {})
}

func TestWritersGoAtThePaceOfASlowFollowerThatTheQuorumNeeds(t *testing.T) {
	paced(t, 3, func(c *cluster) { c.isolate(2, true) })
}

// paced ships to a cluster of which one node replays 8 MiB a second.
func paced(t *testing.T, slow pinetree.NodeID, prepare func(*cluster)) {
	const limit, rate, size, count = 512 << 10, 8 << 20, 64 << 10, 64
	c := &cluster{tune: func(o *Options) {
		o.Replica.Lag = lag.Limits{MaxBytes: limit, MaxNodeBytes: 1 << 30}
		o.Replica.MaxEntryBytes, o.Replica.MaxMessageBytes = size, size
		o.Replica.MaxInflightBytes = limit
	}}
	c.init(t)
	c.kill(slow)
	c.state[slow] = slowEngines{c.state[slow], rate}
	c.start(slow)
	g := c.appoint(1)
	c.createVolume(g)
	prepare(c)
	s, err := g.Ship(c.ctx(10*time.Second), theVolume, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	began := time.Now()
	for i := range pinetree.LSN(count) {
		b, err := storepb.EncodeBatch(theVolume, 1, []pinetree.Record{{Prev: 10 * i, LSN: 10 * (i + 1), Payload: make([]byte, size)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Offer(c.ctx(10*time.Second), []pinetree.Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
	most := map[pinetree.NodeID]int64{}
	ctx := c.ctx(10 * time.Second)
	for s.Progress().Committed < 10*count {
		if err := s.Progress().Err; err != nil {
			t.Fatal(err)
		}
		for id, h := range c.hosts {
			most[id] = max(most[id], h.Lag().Bytes())
		}
		wait(ctx, t, time.Millisecond)
	}
	took := time.Since(began)
	if least := time.Second * (count*size - 2*limit - 8*size) / rate; took < least {
		t.Errorf("%d bytes were acknowledged in %v; an engine that replays %d in a second, and may owe %d with as much in flight, needs %v", count*size, took, rate, limit, least)
	}
	// An entry more, what a mark counts at a time and, at a follower, what is in
	// flight to it when it has enough.
	if most[1] > limit+4*size || most[3] > 2*limit+4*size || most[slow] < limit/2 {
		t.Errorf("the leader owed up to %d bytes, node 3 %d; the limit is %d", most[1], most[3], limit)
	}
	c.isolate(2, false)
	c.eventually(func() error {
		for _, h := range c.hosts {
			if left := h.Lag().Bytes(); left != 0 {
				return context.DeadlineExceeded
			}
		}
		return nil
	})
	if c.hosts[slow].Lag().Waits() == 0 {
		t.Error("nothing says that writers waited for the replay")
	}
}

func wait(ctx context.Context, t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
}
