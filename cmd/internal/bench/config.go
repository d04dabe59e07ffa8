// Package bench loads a cluster of storage nodes from this process and
// measures what it does: throughput and latency as a compute node sees them,
// and what they cost in CPU time, memory and writes. It knows how to start a
// cluster and how to look at its processes from outside, and nothing of how a
// node works.
package bench

import (
	"fmt"
	"io"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

// Mode is the shape of a load.
type Mode string

// The shapes of a load.
const (
	// Closed: each worker appends one record and waits until it is durable.
	Closed Mode = "closed"
	// Stream: each writer appends as fast as its window lets it.
	Stream Mode = "stream"
	// Paced: records come at a fixed rate, whatever became of those before.
	Paced Mode = "paced"
)

const (
	// closedWindowBytes is a window that never stops a closed loop.
	closedWindowBytes = 256 << 20
	// pacedWindowBytes is what a paced load may have under way.
	pacedWindowBytes = 32 << 20

	maxWorkers, maxVolumes = 100_000, 10_000
)

// Config says what to measure.
type Config struct {
	// RecordBytes is the size of each record's payload.
	RecordBytes int
	// WAL is a segment of PostgreSQL's log, or a folder of them, whose records
	// are shipped over and over; "sample" is the one that this binary has in it.
	// When it is empty, records are made, of RecordBytes each.
	WAL string
	// Workers have one record outstanding each; zero unless the load is a
	// closed loop.
	Workers int
	// WindowBytes is what each writer may have appended and not yet heard of;
	// zero unless the load is a stream.
	WindowBytes int
	// Together is how many records of a stream are appended by one call, as
	// those of a transaction are; one unless the load is a stream.
	Together int
	// Compress has the writers compress what becomes smaller by it.
	Compress bool
	// Rate is how many records come each second, all volumes together; zero
	// unless the load is paced.
	Rate float64
	// Warmup is not measured, Duration is.
	Warmup, Duration time.Duration
	// Groups carry the Volumes, by turns; each volume has one writer.
	Groups, Volumes int
	Format          pinetree.Format

	testbed.Config

	// Profiles is a directory for the profiles of the measured interval; none
	// are taken when it is empty. Allocs adds profiles of memory.
	Profiles string
	Allocs   bool

	// Say hears of each step, in a line. Meter shows progress on standard
	// error.
	Say   io.Writer
	Meter bool
}

// Mode tells the shape of the load.
func (c Config) Mode() Mode {
	switch {
	case c.Rate > 0:
		return Paced
	case c.WindowBytes > 0:
		return Stream
	}
	return Closed
}

// Check reports settings that cannot be, before anything is started.
func (c Config) Check() error {
	volumes := max(c.Volumes, c.Groups)
	switch {
	case c.RecordBytes < 1 || c.RecordBytes > maxRecordBytes:
		return cli.Usagef("--record-size %d: want 1 to %d bytes", c.RecordBytes, maxRecordBytes)
	case c.WAL != "" && c.Format != pinetree.FormatOpaque:
		return cli.Usagef("--wal %s: PostgreSQL's log is of format opaque, not %s", c.WAL, c.Format)
	case c.Format == pinetree.FormatRedo && c.RecordBytes < minRedoBytes:
		return cli.Usagef("--record-size %d: a record of format redo changes a key and has at least %d bytes", c.RecordBytes, minRedoBytes)
	case c.Mode() == Closed && (c.Workers < 1 || c.Workers > maxWorkers):
		return cli.Usagef("--inflight %d: want 1 to %d records", c.Workers, maxWorkers)
	case c.WindowBytes < 0 || c.Mode() == Stream && c.WindowBytes < c.RecordBytes:
		return cli.Usagef("--window %d: at least one record of %d bytes must fit", c.WindowBytes, c.RecordBytes)
	case c.Together < 1 || c.Together > 1 && c.Mode() != Stream || c.Together*(c.RecordBytes+32) > maxRecordBytes:
		return cli.Usagef("--together %d: want at least one record, no more than fit in a batch of 8 MiB, and more than one in a stream only", c.Together)
	case c.Rate < 0 || c.Rate > maxRate:
		return cli.Usagef("--rate %g: want 1 to %g records a second", c.Rate, float64(maxRate))
	case c.Duration < 100*time.Millisecond || c.Warmup < 0:
		return cli.Usagef("--duration %v, --warmup %v: want at least 100 ms to measure", c.Duration, c.Warmup)
	case c.Groups < 1 || volumes > maxVolumes || c.Volumes < c.Groups:
		return cli.Usagef("--groups %d, --volumes %d: want at least one volume for each group, at most %d", c.Groups, c.Volumes, maxVolumes)
	case c.Mode() == Closed && c.Workers < c.Volumes:
		return cli.Usagef("--inflight %d: want a worker for each of the %d volumes", c.Workers, c.Volumes)
	case c.Allocs && c.Profiles == "":
		return cli.Usagef("--allocs needs --cpuprofile-dir, which says where the profiles go")
	}
	return nil
}

// Usual are the loads that tell most of a build, with everything that is not
// the shape of a load taken from cfg: small, middle and large records in a
// closed loop, one record at a time, streams, and many groups with one record
// at a time each.
func Usual(cfg Config) []Config {
	cfg.Workers, cfg.WindowBytes, cfg.Together, cfg.Rate, cfg.Groups, cfg.Volumes = 0, 0, 1, 0, 1, 1
	closed := func(record Size, inflight int) Config {
		c := cfg
		c.RecordBytes, c.Workers = int(record), inflight
		return c
	}
	stream := func(record Size) Config {
		c := cfg
		c.RecordBytes, c.WindowBytes = int(record), 4<<20
		return c
	}
	groups := closed(1<<10, 64)
	groups.Groups, groups.Volumes = 64, 64
	return []Config{
		closed(128, 256), closed(1<<10, 256), closed(16<<10, 256), closed(1<<10, 1), stream(128), stream(1 << 10), groups,
	}
}

// window is that of each writer.
func (c Config) window() int {
	switch c.Mode() {
	case Stream:
		return c.WindowBytes
	case Paced:
		return pacedWindowBytes
	}
	return closedWindowBytes
}

// String says the load in a line.
func (c Config) String() string {
	load := fmt.Sprintf("closed loop, %d in flight", c.Workers)
	switch c.Mode() {
	case Stream:
		load = fmt.Sprintf("stream, a window of %s", Size(c.WindowBytes))
	case Paced:
		load = fmt.Sprintf("%g records a second", c.Rate)
	}
	where := ""
	if c.Volumes > 1 {
		where = fmt.Sprintf(", %d volumes in %d groups", c.Volumes, c.Groups)
	}
	records := "of " + Size(c.RecordBytes).String()
	if c.WAL != "" {
		records = "of the WAL in " + c.WAL
	}
	return fmt.Sprintf("%s, records %s%s", load, records, where)
}
