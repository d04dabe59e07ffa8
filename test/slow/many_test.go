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
	idle := newIdle(t, idleGroups)
	t.Log(idle)
	if err := idle.c.stirred(idle.views, idle.sent); err != nil {
		t.Errorf("the groups did not stay quiet: %v", err)
	}
	if idle.kept > maxIdleBytes {
		t.Errorf("an idle replica keeps %d bytes, more than %d", idle.kept, maxIdleBytes)
	}
	if idle.cpu > maxQuietCPU {
		t.Errorf("%v of CPU time in %v with nothing to do", idle.cpu, quietTime)
	}
	// One that is wanted wakes up, and no other.
	if err := idle.writers(1)[0].write(idle.c.ctx(5*time.Second), []byte("awake")); err != nil {
		t.Error(err)
	}
	for g, view := range idle.views {
		if g.ID() != 1 && g.View() != view {
			t.Fatalf("group %d stirred when group 1 was written to", g.ID())
		}
	}
}

// BenchmarkGroups measures what groups cost that nobody uses, and how fast one
// append at a time is in each of up to 64 of them.
func BenchmarkGroups(b *testing.B) {
	for _, n := range []int{1, 16, 256, idleGroups} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			idle := newIdle(b, n)
			b.Log(idle)
			for _, id := range all {
				idle.c.member(id).logDisk.slowSyncs(healthySync)
			}
			writers := idle.writers(min(n, 64))
			b.ResetTimer()
			var working sync.WaitGroup
			for _, w := range writers {
				working.Go(func() {
					for range b.N {
						if err := w.write(idle.c.ctx(20*time.Second), []byte("record")); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			working.Wait()
			b.ReportMetric(float64(b.N*len(writers))/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(float64(idle.kept), "B/replica")
			b.ReportMetric(100*idle.cpu.Seconds()/quietTime.Seconds()/float64(len(all)), "%cpu/node")
		})
	}
}

// idle is a cluster of groups that have come to rest.
type idle struct {
	c     *cluster
	n     int
	made  time.Duration // how long that took
	quiet time.Duration // until nothing happened any more
	kept  int64         // bytes of each replica
	cpu   time.Duration // that all nodes took in quietTime
	views map[*host.Group]*group.View
	sent  int64 // messages, before quietTime
}

// newIdle makes groups and lets them come to rest.
func newIdle(t testing.TB, n int) *idle {
	t.Helper()
	o := host.DefaultOptions()
	o.Replica.QuietAfter = 500 * time.Millisecond
	o.FlushInterval = 200 * time.Millisecond
	i := &idle{c: newCluster(t, o), n: n}
	for _, id := range all {
		i.c.member(id).logDisk.slowSyncs(0)
		i.c.member(id).engineDisk.slowSyncs(0)
	}
	before, began := heap(), time.Now()
	i.c.createMany(n)
	i.made = time.Since(began)
	i.c.eventually("the groups are quiet", 60*time.Second, func() error {
		i.views, i.sent = i.c.views(), i.c.sent.Load()
		time.Sleep(500 * time.Millisecond)
		return i.c.stirred(i.views, i.sent)
	})
	i.quiet = time.Since(began)
	i.kept = (heap() - before) / int64(n*len(all))
	cpu := cpuTime(t)
	time.Sleep(quietTime)
	i.cpu = cpuTime(t) - cpu
	return i
}

// String tells what was measured.
func (i *idle) String() string {
	return fmt.Sprintf("%d groups made in %v, quiet after %v; %d bytes for each replica; %v of CPU time in %v for %d nodes",
		i.n, i.made.Round(time.Millisecond), i.quiet.Round(time.Millisecond), i.kept, i.cpu, quietTime, len(all))
}

// writers of the first n groups.
func (i *idle) writers(n int) []*writer {
	i.c.t.Helper()
	var list []*writer
	for id := range n {
		g, err := i.c.member(all[id%len(all)]).Group(pinetree.GroupID(id + 1))
		if err != nil {
			i.c.t.Fatal(err)
		}
		list = append(list, i.c.newWriter(fmt.Sprintf("writer of group %d", id+1), g, pinetree.VolumeID(id+1)))
	}
	return list
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

// heap is what is in use once all that was left behind is collected, which takes
// the collector a few rounds.
func heap() int64 {
	for range 4 {
		runtime.GC()
		time.Sleep(20 * time.Millisecond)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// cpuTime is what this process has taken.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
