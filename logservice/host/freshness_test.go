package host

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// staleRead reads the end of the log at a bounded staleness.
func staleRead(c *cluster, g *Group, bound, wait time.Duration) (pinetree.LSN, time.Duration, error) {
	var at pinetree.LSN
	q := ReadRequest{Volume: theVolume, Level: pinetree.ReadStale, MaxStale: bound}
	answered, err := g.Read(c.ctx(wait), q, func(r engine.Reader) error {
		at = r.Position().LSN
		return nil
	})
	return at, answered.Stale, err
}

func TestAFollowerServesBoundedStalenessAsLongAsItCanProveIt(t *testing.T) {
	c := newCluster(t)
	leader := c.appoint(1)
	c.createVolume(leader)
	if err := c.ship(leader, 1, batches(t, 1, 0, 100)); err != nil {
		t.Fatal(err)
	}
	g := c.group(2)
	c.eventually(func() error { // the volume may be on its way to this replica
		_, stale, err := staleRead(c, g, 0, time.Second)
		if stale >= 0 {
			t.Errorf("a plain stale read of a replica that proved nothing is %v stale", stale)
		}
		return err
	})
	if at, stale, err := staleRead(c, g, time.Minute, time.Second); err != nil || at != 100 || stale != 0 {
		t.Fatalf("the first bounded read: at %s, %v stale, %v", at, stale, err)
	}

	c.isolate(2, true)
	if err := c.ship(leader, 1, batches(t, 1, 100, 200)); err != nil {
		t.Fatal(err)
	}
	acknowledged := time.Now()
	time.Sleep(20 * time.Millisecond)
	since := time.Since(acknowledged)
	at, stale, err := staleRead(c, g, time.Minute, time.Second)
	if err != nil || at != 100 || stale < since {
		t.Errorf("cut off, within the bound: at %s and %v stale, while an append was acknowledged %v ago: %v", at, stale, since, err)
	}
	_, _, err = staleRead(c, g, time.Millisecond, 150*time.Millisecond)
	if !errors.Is(err, pinetree.ErrNoLease) || !strings.Contains(err.Error(), "at most 1ms behind") {
		t.Errorf("cut off, beyond the bound: %v", err)
	}

	c.isolate(2, false)
	c.eventually(func() error {
		_, _, err := staleRead(c, g, time.Millisecond, 200*time.Millisecond)
		return err
	})
	if at, stale, err := staleRead(c, g, time.Second, time.Second); err != nil || at != 200 || stale > time.Second {
		t.Errorf("connected again: at %s, %v stale, %v", at, stale, err)
	}
}

// TestBoundedReadsDoNotWaitWhileTheyKeepComing reads once in the second half of the
// bound: that alone must lead to a new proof.
func TestBoundedReadsDoNotWaitWhileTheyKeepComing(t *testing.T) {
	c := newCluster(t)
	leader := c.appoint(1)
	c.createVolume(leader)
	g := c.group(2)
	const bound = 10 * time.Second
	c.eventually(func() error { _, _, err := staleRead(c, g, bound, time.Second); return err })
	for range 2 {
		proven := g.host.cfg.Clock()
		g.fresh.instant.Store(int64(proven.Add(-bound * 2 / 3))) // as if it were that long ago
		c.isolate(2, true)
		if _, stale, err := staleRead(c, g, bound, time.Second); err != nil || stale < bound/2 {
			t.Fatalf("%v stale, %v", stale, err)
		}
		c.isolate(2, false)
		c.eventually(func() error {
			if stale := g.fresh.stale(proven); stale > 0 || g.fresh.asking.Load() {
				return fmt.Errorf("the newest proof is %v older than the last question", stale)
			}
			return nil
		})
	}
}

func TestALeaderProvesBoundedStalenessByItsLease(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	if err := c.ship(g, 1, batches(t, 1, 0, 100)); err != nil {
		t.Fatal(err)
	}
	c.isolate(1, true)
	c.eventually(func() error { // its last lease may just end
		_, _, err := staleRead(c, g, time.Nanosecond, 100*time.Millisecond)
		return err
	})
	if at, stale, err := staleRead(c, g, time.Nanosecond, 100*time.Millisecond); err != nil || at != 100 || stale != 0 {
		t.Errorf("under the lease: at %s, %v stale, %v", at, stale, err)
	}
	c.stopGrants(1)
	time.Sleep(250 * time.Millisecond)
	if _, _, err := staleRead(c, g, time.Nanosecond, 100*time.Millisecond); !errors.Is(err, pinetree.ErrNoLease) {
		t.Errorf("without lease and quorum: %v", err)
	}
}
