package e2e

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

// paused is for how long the follower hangs.
const paused = 3 * time.Second

// TestAFollowerThatHangsDelaysNobody stops a follower's process for seconds
// under a writer: the p99 of acknowledgements stays within five times what it
// was before, and 100 ms. Were the follower needed, it would be the seconds.
func TestAFollowerThatHangsDelaysNobody(t *testing.T) {
	c := startCluster(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	writer, err := c.client("v").OpenWriter(c.within(20*time.Second), ship.WriterConfig{RetryFor: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var tail pinetree.LSN
	// p99 writes one record after the other until end, and counts one that
	// waited for its acknowledgement even when it is the only slow one.
	p99 := func(end <-chan time.Time) (at99, worst time.Duration) {
		t.Helper()
		var took []time.Duration
		for over := false; !over || len(took) < 100; {
			select {
			case <-end:
				over = true
			default:
			}
			next := tail + recordBytes
			began := time.Now()
			if err := writer.Append(c.within(20*time.Second), pinetree.Record{Prev: tail, LSN: next, Payload: payload(next)}); err != nil {
				t.Fatal(err)
			}
			if err := writer.Flush(c.within(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			took, tail = append(took, time.Since(began)), next
			time.Sleep(2 * time.Millisecond)
		}
		slices.Sort(took)
		return took[len(took)*99/100], took[len(took)-1]
	}
	const rounds = 3
	for round := 1; ; round++ {
		leader := c.mustLeader(volume.Group)
		follower := c.nodes[slices.IndexFunc(c.nodes, func(n *node) bool { return n != leader })]
		before, _ := p99(time.After(2 * time.Second))
		follower.signal(syscall.SIGSTOP)
		during, worst := p99(time.After(paused))
		follower.signal(syscall.SIGCONT)
		limit := 5*before + 100*time.Millisecond
		t.Logf("%s hangs: p99 %v before, %v during, longest %v; limit %v", follower.name, before, during, worst, limit)
		if during <= limit && worst < paused {
			break
		}
		if round == rounds { // a busy machine spoils a round, a bug all of them
			t.Fatalf("appends take %v while a follower hangs, and %v before", during, before)
		}
		c.awaitServing(follower)
	}
	// It catches up and has all of it.
	c.verify(volume.Volume, tail)
}
