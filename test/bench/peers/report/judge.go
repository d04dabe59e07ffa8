package report

import (
	"fmt"
	"strings"
)

// The loads that Pinetree is judged by.
const (
	closed128    = "closed:256:128"
	closed1Ki    = "closed:256:1024"
	closed16Ki   = "closed:256:16384"
	single       = "closed:1:1024"
	stream1Ki    = "stream:4194304:1024"
	stream128    = "stream:4194304:128"
	manyGroups   = "closed:64:1024:64"
	read1        = "read:1:8192"
	read16       = "read:16:8192"
	read64       = "read:64:8192"
	floorTCP     = "floor-tcp"
	pinetreeName = "pinetree"
)

// Loads are those that Pinetree is judged by, in the order of the tables.
var Loads = []string{closed128, closed1Ki, closed16Ki, single, stream1Ki, stream128, manyGroups}

// Reads are the loads that read, by which Pinetree is judged, too. They are not
// part of a run unless they are asked for.
var Reads = []string{read1, read16, read64}

// IsPinetree is true of Pinetree with any engine.
func IsPinetree(system string) bool {
	name, _, _ := strings.Cut(system, ":")
	return name == pinetreeName
}

func isFloor(system string) bool { return strings.HasPrefix(system, "floor") }

// A crowd is some of the systems that Pinetree is compared with.
type crowd struct {
	name string
	has  func(system string) bool
}

var (
	peers = crowd{"peer", func(s string) bool { return !IsPinetree(s) && !isFloor(s) }}
	// Servers with a client of their own count as behind gRPC.
	behindGRPC = crowd{"peer behind gRPC or its own client", func(s string) bool { return peers.has(s) && !strings.HasSuffix(s, "-tcp") }}
	behindTCP  = crowd{"peer behind raw TCP", func(s string) bool { return peers.has(s) && strings.HasSuffix(s, "-tcp") }}
	stateless  = crowd{"peer without a state machine, behind gRPC", func(s string) bool { return peers.has(s) && strings.HasSuffix(s, "-grpc") }}
	bare       = crowd{"floor", func(s string) bool { return s == floorTCP }}
)

// A figure is what is compared of a result; less says that a lower one is
// better.
type figure struct {
	name string
	of   func(*Cell) float64
	less bool
}

var (
	ops = figure{"ops/s", func(c *Cell) float64 { return c.Median.OpsPerSecond }, false}
	mbs = figure{"MB/s", func(c *Cell) float64 { return c.Median.MBPerSecond }, false}
	p50 = figure{"p50", func(c *Cell) float64 { return c.Median.P50 }, true}
	cpu = figure{"CPU s per 100,000", func(c *Cell) float64 { return c.Median.CPUPer100k }, true}
)

// A Verdict says whether one bar was reached.
type Verdict struct {
	System string  `json:"system"`
	What   string  `json:"what"`
	Bar    float64 `json:"bar"`
	Goal   float64 `json:"goal"`
	AtMost bool    `json:"at_most"` // the figure is to be no higher than the bar
	Figure float64 `json:"figure"`
	// Against is what the figure is a ratio to; empty when it is none.
	Against string `json:"against,omitempty"`
	// Missing is what was not measured; there is no figure then.
	Missing     string `json:"missing,omitempty"`
	Pass        bool   `json:"pass"`
	GoalReached bool   `json:"goal_reached"`
}

// judged fills in whether bar and goal were reached.
func (v Verdict) judged() Verdict {
	reaches := func(want float64) bool {
		if v.AtMost {
			return v.Figure <= want
		}
		return v.Figure >= want
	}
	v.Pass = v.Missing == "" && reaches(v.Bar)
	v.GoalReached = v.Missing == "" && reaches(v.Goal)
	return v
}

// String is one line, with PASS or MISS in front.
func (v Verdict) String() string {
	if v.Missing != "" {
		return fmt.Sprintf("----  %s: %s; not measured: %s", v.System, v.What, v.Missing)
	}
	word, sign, goal := "MISS", "≥", "the goal is "+short(v.Goal)
	if v.Pass {
		word = "PASS"
	}
	if v.GoalReached {
		goal = "the goal of " + short(v.Goal) + " too"
	}
	if v.AtMost {
		sign = "≤"
	}
	line := fmt.Sprintf("%s  %s: %s: %s, wanted %s %s, %s", word, v.System, v.What, short(v.Figure), sign, short(v.Bar), goal)
	if v.Against != "" {
		line += " (" + v.Against + ")"
	}
	return line
}

// best finds the best of a crowd under a load.
func (c Cells) best(load string, who crowd, f figure) (system string, value float64) {
	for name := range c[load] {
		cell, ok := c.get(load, name)
		if !ok || !who.has(name) {
			continue
		}
		v := f.of(cell)
		better := v > value
		if f.less {
			better = v < value
		}
		if system == "" || better || v == value && name < system {
			system, value = name, v
		}
	}
	return system, value
}
