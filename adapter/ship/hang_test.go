package ship

import (
	"sync"
	"testing"
	"time"
)

// TestReadsLeaveALeaderThatHangs freezes the leader under many default reads;
// the manager knows of another one a little later.
func TestReadsLeaveALeaderThatHangs(t *testing.T) {
	w := newWorld(t)
	fill(w, 3)
	const attempt = 4 * time.Second
	c := w.dial(func(cfg *Config) { cfg.AttemptTimeout = attempt })
	r := c.Reader(ReadConfig{})
	latencies(t, r, 5)
	w.change(func() { w.nodes[0].frozen = true })
	t.Cleanup(func() { w.change(func() { w.nodes[0].frozen = false }) })
	asked := w.managers[0].asked
	began := time.Now()
	var reading sync.WaitGroup
	for range 50 {
		reading.Go(func() {
			if state, err := r.State(within(t)); err != nil || state.Node != 2 {
				t.Errorf("node 2 leads, %d answered: %v", state.Node, err)
			}
		})
	}
	time.Sleep(attempt / 10)
	w.change(func() { w.elect(2, 0) })
	reading.Wait()
	if took := time.Since(began); took > attempt/2 {
		t.Errorf("the reads took %v, one attempt may take %v", took, attempt)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if asks := w.managers[0].asked - asked; asks > 10 {
		t.Errorf("50 late reads asked the manager %d times", asks)
	}
}
