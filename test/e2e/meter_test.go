package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

// meter hears the acknowledgements of one writer and keeps when they passed from
// one leader to the next.
type meter struct {
	mu      sync.Mutex
	node    pinetree.NodeID // whose acknowledgement was the last one
	last    time.Time
	changes []change
	waits   []change // of at least longWait
}

// longWait is a wait between two acknowledgements that is worth to be kept.
const longWait = 20 * time.Millisecond

// change is the time in which no leader acknowledged anything: from the last
// acknowledgement by one node to the first by another.
type change struct {
	from, to    pinetree.NodeID
	last, first time.Time
}

func (c change) gap() time.Duration { return c.first.Sub(c.last) }

func (m *meter) hear(a ship.Acked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.node != 0 && a.Node != m.node {
		m.changes = append(m.changes, change{m.node, a.Node, m.last, now})
	}
	if m.node != 0 && now.Sub(m.last) >= longWait {
		m.waits = append(m.waits, change{m.node, a.Node, m.last, now})
	}
	m.node, m.last = a.Node, now
}

// longest is the longest wait between two acknowledgements since an instant, and no
// less than the one that still goes on.
func (m *meter) longest(from time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	longest := time.Since(m.last)
	for _, w := range m.waits {
		if w.first.After(from) {
			longest = max(longest, w.gap())
		}
	}
	return longest
}

// leader is whose acknowledgement was the last one.
func (m *meter) leader() pinetree.NodeID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}

// after is the first change that ended after an instant.
func (m *meter) after(from time.Time) (change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.changes {
		if c.first.After(from) {
			return c, nil
		}
	}
	return change{}, fmt.Errorf("node %d acknowledged last, %v ago", m.node, time.Since(m.last).Round(time.Millisecond))
}

// sample is a number of measured times of one kind.
type sample []time.Duration

// at is the time that so many percent of the sample do not exceed: the one whose
// rank is the next whole number.
func (s sample) at(percent int) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, (len(s)*percent+99)/100-1)]
}

// bars are the longest times that a measurement may find; zero is no bar.
type bars struct{ median, p99, worst time.Duration }

// figure is one row of what was measured, in milliseconds.
type figure struct {
	Name     string    `json:"name"`
	Rounds   int       `json:"rounds"`
	MedianMs float64   `json:"median_ms"`
	P99Ms    float64   `json:"p99_ms"`
	WorstMs  float64   `json:"worst_ms"`
	Bars     []string  `json:"bars,omitempty"`
	Held     bool      `json:"held"`
	Times    []float64 `json:"times_ms"`
}

func milliseconds(d time.Duration) float64 { return float64(d.Round(10*time.Microsecond)) / 1e6 }

// judge makes the figure of a sample, keeps it for the report, and fails the test
// when a bar is broken.
func (s sample) judge(t *testing.T, name string, b bars) {
	t.Helper()
	f := figure{Name: name, Rounds: len(s), MedianMs: milliseconds(s.at(50)), P99Ms: milliseconds(s.at(99)), WorstMs: milliseconds(s.at(100)), Held: true}
	for _, d := range s {
		f.Times = append(f.Times, milliseconds(d))
	}
	for _, bar := range []struct {
		name       string
		got, limit time.Duration
	}{{"median", s.at(50), b.median}, {"p99", s.at(99), b.p99}, {"worst", s.at(100), b.worst}} {
		if bar.limit == 0 {
			continue
		}
		f.Bars = append(f.Bars, fmt.Sprintf("%s ≤ %v", bar.name, bar.limit))
		if bar.got > bar.limit || len(s) == 0 {
			f.Held = false
			t.Errorf("%s: %s %v of %d rounds, the bar is %v", name, bar.name, bar.got.Round(100*time.Microsecond), len(s), bar.limit)
		}
	}
	report.add(t, f)
}

func (f figure) row() string {
	held := "held"
	if !f.Held {
		held = "BROKEN"
	}
	return fmt.Sprintf("%-44s %6d %10.1f %10.1f %10.1f  %-34s %s", f.Name, f.Rounds, f.MedianMs, f.P99Ms, f.WorstMs, strings.Join(f.Bars, ", "), held)
}

const heading = "measured, ms                                  rounds     median        p99      worst  bars"
