package benchlog

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree/raftlog"
)

// counts are what there is to be counted at one moment; nil is unknown.
type counts struct{ syncs, written, disk *float64 }

func count(store raftlog.Store, dir string) (c counts) {
	if counter, ok := store.(raftlog.Counter); ok {
		w := counter.Written()
		c.written, c.syncs = number(w.Bytes), number(w.Syncs)
	} else if syncer, ok := store.(interface{ Syncs() uint64 }); ok {
		c.syncs = number(syncer.Syncs())
	}
	c.disk = diskWritten(dir)
	return c
}

func number(n uint64) *float64 { f := float64(n); return &f }

// per is the difference of two counts for each unit.
func per(units float64, before, after *float64) *float64 {
	if before == nil || after == nil || units == 0 {
		return nil
	}
	f := (*after - *before) / units
	return &f
}

// diskWritten is how many bytes the disk with that directory has written; nil
// when there is none.
func diskWritten(dir string) *float64 {
	var info unix.Stat_t
	data, err := os.ReadFile("/proc/diskstats")
	if err != nil || unix.Stat(dir, &info) != nil {
		return nil
	}
	return sectorsWritten(string(data), fmt.Sprint(unix.Major(info.Dev)), fmt.Sprint(unix.Minor(info.Dev)))
}

// sectorsWritten finds a disk in Linux's disk statistics: the tenth column is
// sectors written, of 512 bytes each.
func sectorsWritten(stats, major, minor string) *float64 {
	for line := range strings.Lines(stats) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[0] != major || fields[1] != minor {
			continue
		}
		if n, err := strconv.ParseUint(fields[9], 10, 64); err == nil {
			return number(512 * n)
		}
	}
	return nil
}

// percentiles are the median and the 99th percentile, in microseconds.
func percentiles(latency []time.Duration) (p50, p99 float64) {
	if len(latency) == 0 {
		return 0, 0
	}
	slices.Sort(latency)
	at := func(share float64) float64 {
		return float64(latency[int(share*float64(len(latency)-1))].Nanoseconds()) / 1000
	}
	return at(0.5), at(0.99)
}
