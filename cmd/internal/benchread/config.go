// Package benchread measures reading pages from a cluster of storage nodes:
// several kinds of reads in turns, so that what a busy machine does to one it
// does to all, beside a bare gRPC service that answers as many bytes. It knows
// the client and no node.
package benchread

import (
	"fmt"
	"io"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

const (
	minPageBytes, maxPageBytes = 64, 1 << 20
	maxFillBytes               = 16 << 30
	maxPages, maxBatch         = 10_000_000, 4096
	maxInflight, maxRounds     = 10_000, 1000
)

// Config says what to measure: every combination of Levels, Inflight and
// Batches.
type Config struct {
	testbed.Config

	// Pages of PageBytes are written, then Patches that change a few bytes of one
	// page each.
	Pages, PageBytes, Patches int
	// Back reads the state so many patches before the newest.
	Back int

	Levels   []pinetree.ReadLevel
	Inflight []int // reads under way at once
	Batches  []int // pages in a read
	// Apart measures reads of single pages as calls of their own, too: a client
	// has reads that are under way at once share calls.
	Apart bool
	// Echo measures a bare gRPC service in a process of its own, too.
	Echo bool

	// Rounds go through all combinations, each time in another order. Each is
	// loaded for Warmup and then measured for Duration.
	Rounds           int
	Warmup, Duration time.Duration

	// Say hears of each step, in a line.
	Say io.Writer
}

// Bars are the settings of a run that Judge compares with what is wanted.
func Bars(c Config) Config {
	c.Levels = []pinetree.ReadLevel{pinetree.ReadDefault, pinetree.ReadConsistent}
	c.Inflight, c.Batches, c.Echo = []int{1, 16, 64}, []int{1, 64}, true
	c.Apart = true
	return c
}

// Check reports settings that cannot be, before anything is started.
func (c Config) Check() error {
	switch {
	case c.PageBytes < minPageBytes || c.PageBytes > maxPageBytes:
		return cli.Usagef("--page-size %d: want %d to %d bytes", c.PageBytes, minPageBytes, maxPageBytes)
	case c.Pages < 1 || c.Pages > maxPages || c.Pages*c.PageBytes > maxFillBytes:
		return cli.Usagef("--pages %d: want at least one and no more than 16 GiB of them", c.Pages)
	case c.Patches < 0 || c.Patches > maxPages:
		return cli.Usagef("--patches %d: want 0 to %d", c.Patches, maxPages)
	case c.Back < 0 || c.Back > 0 && c.Back >= c.Patches:
		return cli.Usagef("--back %d: there must be more --patches than that", c.Back)
	case c.Rounds < 1 || c.Rounds > maxRounds:
		return cli.Usagef("--rounds %d: want 1 to %d", c.Rounds, maxRounds)
	case c.Duration < 100*time.Millisecond || c.Warmup < 0:
		return cli.Usagef("--duration %v, --warmup %v: want at least 100 ms to measure", c.Duration, c.Warmup)
	case c.Echo && len(c.Targets) > 0:
		return cli.Usagef("--echo is beside a cluster on this machine, and --target names one that runs somewhere")
	}
	for _, n := range c.Inflight {
		if n < 1 || n > maxInflight {
			return cli.Usagef("--inflight %d: want 1 to %d reads", n, maxInflight)
		}
	}
	for _, n := range c.Batches {
		if n < 1 || n > maxBatch {
			return cli.Usagef("--batch %d: want 1 to %d pages", n, maxBatch)
		}
	}
	return nil
}

// Kind is what is asked of whom.
type Kind string

// The kinds of calls.
const (
	// Read reads pages of the volume.
	Read Kind = "read"
	// Echo has a bare gRPC service send back as many bytes as a page has.
	Echo Kind = "echo"
	// Fetch asks it in a few bytes for as many as a page has.
	Fetch Kind = "fetch"
)

// Case is one combination.
type Case struct {
	Kind     Kind               `json:"kind"`
	Level    pinetree.ReadLevel `json:"-"`
	Inflight int                `json:"inflight"`
	Batch    int                `json:"batch"`
	// Apart: no two reads share a call.
	Apart bool `json:"apart,omitempty"`
}

// String says the case in a few words.
func (c Case) String() string {
	what := string(c.Kind)
	if c.Kind == Read {
		what = c.Level.String()
	}
	if c.Batch > 1 {
		what += fmt.Sprintf(", %d pages", c.Batch)
	}
	what += c.manner()
	return fmt.Sprintf("%s × %d in flight", what, c.Inflight)
}

func (c Case) manner() string {
	if c.Apart {
		return ", apart"
	}
	return ""
}

// cases are all combinations.
func (c Config) cases() (all []Case) {
	for _, inflight := range c.Inflight {
		for _, batch := range c.Batches {
			for _, level := range c.Levels {
				all = append(all, Case{Kind: Read, Level: level, Inflight: inflight, Batch: batch})
				if c.Apart && batch == 1 {
					all = append(all, Case{Kind: Read, Level: level, Inflight: inflight, Batch: batch, Apart: true})
				}
			}
		}
		if c.Echo {
			all = append(all, Case{Kind: Echo, Inflight: inflight, Batch: 1}, Case{Kind: Fetch, Inflight: inflight, Batch: 1})
		}
	}
	return all
}
