package report

import "fmt"

// A bar is what a ratio or figure is to reach, and the goal beyond it.
type bar struct{ least, goal float64 }

// judge collects the verdicts on one Pinetree.
type judge struct {
	cells    Cells
	system   string
	verdicts []Verdict
}

// Judge compares each Pinetree that was measured with the bars.
func Judge(cells Cells) []Verdict {
	var all []Verdict
	for _, kind := range []struct {
		loads []string
		judge func(*judge)
	}{{Loads, (*judge).writes}, {Reads, (*judge).reads}} {
		seen := map[string]bool{}
		for _, load := range kind.loads {
			for _, system := range cells.systems(load) {
				if IsPinetree(system) && !seen[system] {
					seen[system] = true
					j := &judge{cells: cells, system: system}
					kind.judge(j)
					all = append(all, j.verdicts...)
				}
			}
		}
	}
	return all
}

// reads: a peer's reads ask a quorum, Pinetree's are a leader's under its lease.
// Either way they see every write that was acknowledged before.
func (j *judge) reads() {
	for _, load := range Reads {
		j.ratio(load, ops, peers, bar{2, 2})
	}
}

func (j *judge) writes() {
	for _, load := range []string{closed128, closed1Ki, closed16Ki} {
		j.ratio(load, ops, behindGRPC, bar{1.2, 1.6})
		j.ratio(load, ops, behindTCP, bar{0.85, 1.2})
		j.ratio(load, ops, bare, bar{0.5, 0.75})
	}
	j.ratio(closed1Ki, ops, stateless, bar{0.6, 1})
	j.ratio(single, p50, bare, bar{2.0, 1.5})
	j.ratio(single, p50, peers, bar{1, 1})
	j.compare("MB/s of "+stream1Ki+" to those of the floor under "+closed16Ki, stream1Ki, mbs, closed16Ki, bare, bar{0.45, 0.7})
	j.plain("records/s of "+stream128, stream128, ops, bar{400_000, 1_000_000})
	j.ratio(closed1Ki, cpu, behindGRPC, bar{1.0, 0.7})
	j.compare("CPU s per 100,000 of "+stream1Ki+" to those of the best "+behindGRPC.name+" under "+closed1Ki, stream1Ki, cpu, closed1Ki, behindGRPC, bar{0.4, 0.2})
	written := figure{"bytes", func(c *Cell) float64 { return c.Median.WrittenPerByte }, true}
	j.plain("bytes written per byte of "+stream1Ki, stream1Ki, written, bar{1.15, 1.15})
	itself := crowd{"with one group", func(s string) bool { return s == j.system }}
	j.compare("commits/s of 64 groups to those of one", manyGroups, ops, single, itself, bar{8, 8})
	fsyncs := figure{"fsyncs", func(c *Cell) float64 { return c.Median.FsyncsPerCommit }, true}
	j.plain("fsyncs per commit of 64 groups", manyGroups, fsyncs, bar{0.15, 0.15})
}

// ratio compares one figure of one load with the best of a crowd.
func (j *judge) ratio(load string, f figure, with crowd, b bar) {
	j.compare(fmt.Sprintf("%s of %s to the best %s", f.name, load, with.name), load, f, load, with, b)
}

// compare relates the figure of one load to that of the best of a crowd under
// another.
func (j *judge) compare(what, load string, f figure, otherLoad string, with crowd, b bar) {
	v := Verdict{System: j.system, What: what, Bar: b.least, Goal: b.goal, AtMost: f.less}
	own, ok := j.cells.get(load, j.system)
	other, value := j.cells.best(otherLoad, with, f)
	switch {
	case !ok:
		v.Missing = j.system + " under " + load
	case other == "" || value == 0:
		v.Missing = "a " + with.name + " under " + otherLoad
	default:
		v.Figure = f.of(own) / value
		v.Against = fmt.Sprintf("%s to %s of %s", short(f.of(own)), short(value), other)
	}
	j.verdicts = append(j.verdicts, v.judged())
}

// plain holds one figure to a bar.
func (j *judge) plain(what, load string, f figure, b bar) {
	v := Verdict{System: j.system, What: what, Bar: b.least, Goal: b.goal, AtMost: f.less}
	if own, ok := j.cells.get(load, j.system); ok {
		v.Figure = f.of(own)
	} else {
		v.Missing = j.system + " under " + load
	}
	j.verdicts = append(j.verdicts, v.judged())
}
