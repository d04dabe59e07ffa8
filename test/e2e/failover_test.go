package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// startReachable starts a cluster whose nodes are reached without proxies, so that
// the address of a process that is gone refuses connections.
func startReachable(t *testing.T, size int, flags ...string) *cluster {
	t.Helper()
	c := emptyCluster(t, flags...)
	c.reachable = true
	c.fill(size)
	return c
}

// loseLeader does something to the node that acknowledges a load and returns how
// long nobody acknowledged anything.
func (l *load) loseLeader(round int, group uint64, harm func(*node)) (*node, change) {
	l.c.t.Helper()
	l.more(1 << 16)
	old := l.c.byID(uint64(l.meter.leader()))
	began := time.Now()
	harm(old)
	var got change
	within(l.c.t, 30*time.Second, fmt.Sprintf("round %d: an acknowledgement by another node than %d", round, old.id), func() (err error) {
		got, err = l.meter.after(began)
		if err == nil && (got.from != old.id || got.to == old.id) {
			err = fmt.Errorf("acknowledged by %d, then by %d", got.from, got.to)
		}
		return err
	})
	l.c.t.Logf("round %d: node %d to %d, %v: last acknowledgement %+d ms, %s", round, got.from, got.to, got.gap().Round(time.Millisecond),
		got.last.Sub(began).Milliseconds(), l.c.timeline(began, group, old.id, mark{got.first, "acknowledged"}))
	return old, got
}

// settled waits until all nodes serve, and a leader has the lease.
func (c *cluster) settled(group uint64) {
	c.t.Helper()
	for _, n := range c.nodes {
		c.awaitServing(n)
	}
	within(c.t, 20*time.Second, "a leader with the lease, and replicas that are up to date", func() error {
		info, err := c.show(group)
		if err != nil {
			return err
		}
		if info.Leader == 0 || !info.Leased {
			return fmt.Errorf("leader %d, leased: %t", info.Leader, info.Leased)
		}
		var newest uint64
		for _, r := range info.Replicas {
			newest = max(newest, r.Status.GetLastIndex())
		}
		for _, r := range info.Replicas {
			if r.Status.GetLastIndex()+1000 < newest {
				return fmt.Errorf("node %d is at entry %d of %d", r.Node, r.Status.GetLastIndex(), newest)
			}
		}
		return nil
	})
}

// TestFailoverOfAKilledLeader kills the leader's process under load: another one
// acknowledges within the bars. That the process is gone must be seen from its
// address, not from its silence.
func TestFailoverOfAKilledLeader(t *testing.T) {
	rounds, limit := rounds(t, 3, 100), bars{median: 5 * time.Second}
	if full() {
		limit = bars{median: 900 * time.Millisecond, p99: 1500 * time.Millisecond}
	}
	c := startReachable(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	var gaps sample
	for round := range rounds {
		c.settled(volume.Group)
		began := time.Now()
		old, got := l.loseLeader(round, volume.Group, func(n *node) { n.kill() })
		gaps = append(gaps, got.gap())
		deaths := c.events("node_dead", old.id, began)
		if len(deaths) != 1 || !strings.Contains(deaths[0].Cause, "refuses") {
			t.Errorf("round %d: node %d was killed, and the manager says %v", round, old.id, deaths)
		}
		old.start()
	}
	gaps.judge(t, "kill -9 of the leader, one group", limit)
	end := l.end()
	c.settled(volume.Group)
	c.verify(volume.Volume, end)
}
