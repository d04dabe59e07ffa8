package e2e

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestPlannedMovesUnderFullLoad moves the leader to the other nodes by turns under
// a writer whose window is always full: no move fails, and nothing is acknowledged
// for no longer than the bars say. Nothing is lost, and the writer never ends.
func TestPlannedMovesUnderFullLoad(t *testing.T) {
	moves, limit := rounds(t, 6, 200), bars{median: time.Second}
	if full() {
		limit = bars{median: 15 * time.Millisecond, p99: 60 * time.Millisecond}
	}
	c := startReachable(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.fullLoad("v")
	var gaps, pauses, calls sample
	refused := 0
	for move := range moves {
		l.more(1 << 20)
		from := l.meter.leader()
		to := pinetree.NodeID(uint64(from)%3 + 1)
		began := time.Now()
		moved, err := c.manages().MoveLeader(c.within(10*time.Second), &wirepb.MoveLeaderRequest{Group: volume.Group, To: uint64(to)})
		if err != nil || !moved.Moved {
			if refused++; full() || refused > moves/2 {
				t.Fatalf("move %d from node %d to %d: %v, %v", move, from, to, moved, err)
			}
			t.Logf("move %d from node %d to %d, on a machine that may be busy: %v, %v", move, from, to, moved, err)
			continue
		}
		took := time.Since(began)
		var got change
		within(t, 10*time.Second, fmt.Sprintf("move %d: node %d acknowledges", move, to), func() (err error) {
			if got, err = l.meter.after(began); err == nil && got.to != to {
				err = fmt.Errorf("node %d does", got.to)
			}
			return err
		})
		pause := time.Duration(moved.PauseUs) * time.Microsecond
		gaps, pauses, calls = append(gaps, got.gap()), append(pauses, pause), append(calls, took)
		t.Logf("move %d: node %d to %d: no acknowledgement for %v, %v of it between release and activation; last one %v after the order, which took %v", move, from, to,
			got.gap().Round(10*time.Microsecond), pause, got.last.Sub(began).Round(10*time.Microsecond), took.Round(10*time.Microsecond))
	}
	gaps.judge(t, "planned move under full load, writer's gap", limit)
	pauses.judge(t, "planned move, release to activation", bars{})
	calls.judge(t, "planned move, the whole order", bars{})
	c.verifyLong(volume.Volume, l.end())
}

// fullLoad is a load whose window is always full.
func (c *cluster) fullLoad(volume string) *load { return c.loadAt(volume, 0) }

// verifyLong is verify for a log that does not fit in memory.
func (c *cluster) verifyLong(volume uint64, upTo pinetree.LSN) {
	c.t.Helper()
	digests := map[string]bool{}
	for _, n := range c.nodes {
		count := pinetree.LSN(0)
		err := c.eachRecord(n, volume, upTo, func(r pinetree.Record) error {
			if count++; !bytes.Equal(r.Payload, payload(r.LSN)) {
				return fmt.Errorf("%s: the record at %s is not the one that was written", n.name, r.LSN)
			}
			return nil
		})
		if err != nil {
			c.t.Fatal(err)
		}
		if count != upTo/recordBytes {
			c.t.Errorf("%s has %d records, %d were acknowledged", n.name, count, upTo/recordBytes)
		}
		d, err := c.digest(n, volume, upTo)
		if err != nil {
			c.t.Fatal(err)
		}
		digests[d] = true
	}
	if len(digests) != 1 {
		c.t.Errorf("the replicas differ: %v", digests)
	}
}
