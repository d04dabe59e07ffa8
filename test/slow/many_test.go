package slow

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/host"
)

const (
	// idleGroups is how many groups nobody uses, each with three replicas.
	idleGroups = 2000
	// maxIdleBytes is what one idle replica may keep in memory.
	maxIdleBytes = 24 << 10
	// quietTime is for how long it is looked whether they are quiet, and
	// maxQuietCPU how much CPU time three nodes may take in it.
	quietTime   = 2 * time.Second
	maxQuietCPU = 200 * time.Millisecond
)

// TestIdleGroupsCostAlmostNothing makes thousands of groups, lets them come to
// rest and wants no message, no turn of a replica and hardly any CPU time.
func TestIdleGroupsCostAlmostNothing(t *testing.T) {
	o := host.DefaultOptions()
	o.Replica.QuietAfter = 500 * time.Millisecond
	o.FlushInterval = 200 * time.Millisecond
	c := newCluster(t, o)
	for _, id := range all {
		c.member(id).logDisk.slowSyncs(0)
		c.member(id).engineDisk.slowSyncs(0)
	}
	before := heap()
	began := time.Now()
	c.createMany(idleGroups)
	made := time.Since(began)

	var last map[*host.Group]*group.View
	var sent int64
	c.eventually("the groups are quiet", 60*time.Second, func() error {
		last, sent = c.views(), c.sent.Load()
		time.Sleep(500 * time.Millisecond)
		return c.stirred(last, sent)
	})
	quiet := time.Since(began)
	kept := (heap() - before) / (idleGroups * int64(len(all)))
	cpu := cpuTime(t)
	time.Sleep(quietTime)
	cpu = cpuTime(t) - cpu
	t.Logf("%d groups made in %v, quiet after %v; %d bytes for each replica; %v of CPU time in %v for %d nodes",
		idleGroups, made.Round(time.Millisecond), quiet.Round(time.Millisecond), kept, cpu, quietTime, len(all))
	if err := c.stirred(last, sent); err != nil {
		t.Errorf("the groups did not stay quiet: %v", err)
	}
	if kept > maxIdleBytes {
		t.Errorf("an idle replica keeps %d bytes, more than %d", kept, maxIdleBytes)
	}
	if cpu > maxQuietCPU {
		t.Errorf("%v of CPU time in %v with nothing to do", cpu, quietTime)
	}
	// One that is wanted wakes up, and no other.
	g, err := c.member(1).Group(1)
	if err != nil {
		t.Fatal(err)
	}
	w := c.newWriter("writer", g, 1)
	if err := w.write(c.ctx(5*time.Second), []byte("awake")); err != nil {
		t.Error(err)
	}
	for g, view := range last {
		if g.ID() != 1 && g.View() != view {
			t.Fatalf("group %d stirred when group 1 was written to", g.ID())
		}
	}
}

// createMany makes groups 1 to n, several at a time, and spreads their leaders.
func (c *cluster) createMany(n int) {
	c.t.Helper()
	ids := make(chan pinetree.GroupID)
	var making sync.WaitGroup
	for range 32 {
		making.Go(func() {
			for id := range ids {
				c.createGroup(id, all[int(id-1)%len(all)])
			}
		})
	}
	for id := range n {
		ids <- pinetree.GroupID(id + 1)
	}
	close(ids)
	making.Wait()
}

// views of all replicas. A turn publishes another one, even if nothing changed.
func (c *cluster) views() map[*host.Group]*group.View {
	views := map[*host.Group]*group.View{}
	for _, n := range all {
		for _, g := range c.member(n).Groups() {
			views[g] = g.View()
		}
	}
	return views
}

// stirred tells what happened since the views were taken.
func (c *cluster) stirred(views map[*host.Group]*group.View, sent int64) error {
	turns := 0
	for g, view := range views {
		if g.View() != view {
			turns++
		}
	}
	if messages := c.sent.Load() - sent; turns > 0 || messages > 0 {
		return fmt.Errorf("%d replicas had a turn, %d messages were sent", turns, messages)
	}
	return nil
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// cpuTime is what this process has taken.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
