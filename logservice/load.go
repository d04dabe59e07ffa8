package logservice

import (
	"math"
	"runtime"
	"syscall"
	"time"

	"github.com/pinetree-db/pinetree/lease"
)

// loadMemory is how long ago the load still counts, by half or so.
const loadMemory = 2 * time.Second

// loadMeter tells how busy this process is. It measures processor time, not
// requests: what keeps a node from answering the next read may as well be
// appends, replaying, snapshots or the collector. One goroutine may use it.
type loadMeter struct {
	at   lease.Instant
	used time.Duration
	load float64 // 1 is all processors that the process may use
}

// now is the load of late in thousandths.
func (m *loadMeter) now() uint32 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		m.take(lease.BootTime(), time.Duration(usage.Utime.Nano()+usage.Stime.Nano()))
	}
	return uint32(math.Round(1000 * m.load))
}

// take takes in how much processor time was used so far. The first call begins.
func (m *loadMeter) take(at lease.Instant, used time.Duration) {
	if elapsed := at.Sub(m.at); m.at != 0 && elapsed > 0 {
		busy := float64(used-m.used) / float64(elapsed) / float64(runtime.GOMAXPROCS(0))
		m.load += (min(busy, 1) - m.load) * (1 - math.Exp(-float64(elapsed)/float64(loadMemory)))
	}
	m.at, m.used = at, used
}
