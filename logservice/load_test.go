package logservice

import (
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/lease"
)

// TestLoadFollowsProcessorTime feeds a meter with half of all processors in use,
// then none, at a heartbeat's pace and at an uneven one.
func TestLoadFollowsProcessorTime(t *testing.T) {
	for _, pace := range [][]time.Duration{{150 * time.Millisecond}, {10 * time.Millisecond, time.Second}} {
		var m loadMeter
		at, used := lease.Instant(time.Hour), 5*time.Minute
		run := func(total time.Duration, share float64) {
			for i := 0; total > 0; i++ {
				step := pace[i%len(pace)]
				total -= step
				at, used = at.Add(step), used+time.Duration(share*float64(step)*float64(runtime.GOMAXPROCS(0)))
				m.take(at, used)
			}
		}
		m.take(at, used)
		run(20*time.Second, 0.5)
		if math.Abs(m.load-0.5) > 0.01 {
			t.Errorf("pace %v: half used, load %.3f", pace, m.load)
		}
		run(2*time.Second, 0)
		if m.load < 0.1 || m.load > 0.3 {
			t.Errorf("pace %v: idle for 2 s, load %.3f, want less than half of before and more than nothing", pace, m.load)
		}
	}
}

func TestAProcessThatWorksHasALoad(t *testing.T) {
	var m loadMeter
	m.now()
	deadline := time.Now().Add(10 * time.Second)
	for m.now() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no load after ten seconds of work")
		}
	}
}
