package fleet

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// TestAFleetUnderOneManager measures the manager: what heartbeats cost it, and
// how long a dead node's leaders take to be replaced. In the size of
// PINETREE_FLEET=full the bars are asserted, for a machine that does nothing
// else: half a processor for the heartbeats of 50 nodes and 5,000 busy groups,
// and two seconds for the 300 leaders of one node.
func TestAFleetUnderOneManager(t *testing.T) {
	s, full := size{nodes: 10, groups: 300, led: 40, watch: time.Second}, os.Getenv("PINETREE_FLEET") == "full"
	if full {
		s = size{nodes: 50, groups: 5000, led: 300, watch: 20 * time.Second}
	}
	f := start(t, s)
	anybody := func(uint64, pinetree.NodeID) bool { return true }
	t.Logf("%d groups got their first leaders within %v", s.groups, f.await(s.groups, time.Minute, anybody))

	time.Sleep(2 * heartbeat)
	began, used := time.Now(), f.cpu()
	time.Sleep(s.watch)
	share := float64(f.cpu()-used) / float64(time.Since(began))
	t.Logf("the manager takes %.2f of a processor for the heartbeats of %d nodes with %d groups", share, s.nodes, s.groups)
	if full && share > 0.5 {
		t.Errorf("heartbeats cost %.2f of a processor, the bar is 0.5", share)
	}

	f.mu.Lock()
	led := 0
	for _, leader := range f.leaders {
		if leader == 1 {
			led++
		}
	}
	f.mu.Unlock()
	if led == 0 || full && led != s.led {
		t.Fatalf("node 1 leads %d groups, wanted %d", led, s.led)
	}
	f.nodes[0].kill()
	took := f.await(s.groups, 20*time.Second, func(_ uint64, leader pinetree.NodeID) bool { return leader != 1 })
	t.Logf("the %d leaders of a node that died were replaced within %v", led, took)
	if full && took > 2*time.Second {
		t.Errorf("that took %v, the bar is 2 s", took)
	}
}

// net0 reserves an address; the function that is returned gives it up to whoever
// listens on it next.
func net0(t *testing.T) (string, func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), func() { _ = l.Close() }
}
