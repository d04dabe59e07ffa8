package sim

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/engine"
)

// Result is what became of a run.
type Result struct {
	Err   error  // the first breach of a promise
	Sum   uint64 // of the history: equal for equal seeds
	Marks Marks
	Batch int           // batches in all logs
	Time  time.Duration // virtual, from start to end
	Tail  string        // the last lines of the trace
	World string
}

// Run runs a seed from start to end.
func Run(cfg Config) Result {
	w := newWorld(cfg)
	batches := 0
	w.guarded(func() {
		w.begin()
		w.runUntil(w.plan.trouble, never)
		w.endTrouble()
		w.runUntil(w.now+healTime, w.converged())
		w.checkHealed()
		batches = w.end()
	})
	return Result{
		Err: w.hist.Breach(), Sum: w.trace.sum.Sum64(), Marks: w.marks,
		Batch: batches, Time: w.now, Tail: w.trace.tail(), World: w.plan.describe(),
	}
}

func never() bool { return false }

// begin starts everything.
func (w *World) begin() {
	for _, n := range w.nodes[:w.plan.nodes] {
		n.create()
	}
	for _, n := range w.nodes {
		n.boot()
	}
	for _, m := range w.managers {
		m.boot()
	}
	w.every(150*time.Millisecond, w.createVolumes)
	if w.operator != nil {
		w.every(operatorPace, w.operator.tick)
	}
	for _, r := range w.readers {
		w.every(15*time.Millisecond, r.ask)
	}
	w.beginMeta()
	w.beginTrimming()
	w.after(time.Second, w.trouble)
}

// converged looks, now and then, whether nothing is left to do.
func (w *World) converged() func() bool {
	var done bool
	w.every(50*time.Millisecond, func() { done = w.closing && w.unsettled() == "" })
	return func() bool { return done }
}

// unsettled says what is not as it must be after the faults, or nothing.
func (w *World) unsettled() string {
	for _, n := range w.nodes {
		if !n.up && !n.lost {
			return n.name + " is down"
		}
	}
	if w.operator != nil && w.operator.busy() {
		return "the operator is not done"
	}
	for _, v := range w.volumes {
		if !v.created {
			return fmt.Sprintf("volume %d is not created", v.id)
		}
		for _, c := range v.writers {
			switch {
			case c.fenced && !c.finished:
				return c.name + " does not know the outcome of its appends"
			case !c.fenced && (!c.opened || c.acked < len(c.batches)) && !c.finished:
				return fmt.Sprintf("%s has %d of %d batches acknowledged", c.name, c.acked, len(c.batches))
			}
		}
	}
	for i := range w.plan.groups {
		if wrong := w.unequal(i); wrong != "" {
			return wrong
		}
	}
	return ""
}

// unequal says which replica of a group is behind, and whether it has a leader
// that holds the lease.
func (w *World) unequal(i int) string {
	g := groupNumber(i)
	var first *member
	for _, m := range w.seats(g) {
		n := m.node
		if m.applied.Index < m.view.Committed {
			return fmt.Sprintf("group %d: %s has replayed up to %d, %d is committed", g, n.name, m.applied.Index, m.view.Committed)
		}
		if first == nil {
			first = m
		}
		if m.applied.Index != first.applied.Index {
			return fmt.Sprintf("group %d: %s has replayed up to %d, %s up to %d", g, n.name, m.applied.Index, first.node.name, first.applied.Index)
		}
	}
	if missing := w.missing(g); missing != 0 {
		return fmt.Sprintf("group %d: its member on node %d is not there", g, missing)
	}
	if w.holder(g) == nil {
		return fmt.Sprintf("group %d has no leader with a lease", g)
	}
	return ""
}

// holder is the node that holds the lease of a group; nil when there is none.
func (w *World) holder(g pinetree.GroupID) *node {
	for _, n := range w.nodes {
		if m := n.member(g); m != nil && m.view.Leads && n.local() < m.view.Lease {
			return n
		}
	}
	return nil
}

// checkHealed: after the faults the groups make progress within a bound.
func (w *World) checkHealed() {
	if wrong := w.unsettled(); wrong != "" && w.hist.Breach() == nil {
		w.fail("%v after the last fault: %s", healTime, wrong)
	}
}

// end compares every promise with every replica.
func (w *World) end() (batches int) {
	if w.hist.Breach() != nil {
		return 0
	}
	for _, s := range w.scribes {
		s.check()
	}
	for _, t := range w.tailers {
		t.check()
	}
	for _, v := range w.volumes {
		w.resolveAll(v)
		end, n := w.hist.End(v.id)
		batches += n
		var first engine.DigestResult
		for i, m := range w.seats(v.group) {
			node := m.node
			reader, err := m.reader(v.id)
			if err != nil {
				w.fail("%s: %w", node.name, err)
				return batches
			}
			if got := w.hist.Log(node.id, v.id, reader, reader.Position().First()); n > 0 && got != end {
				w.fail("volume %d: node %d reads its log back up to %s, it ends at %s", v.id, node.id, got, end)
			}
			digest, err := engine.Digest(reader, 0)
			if err != nil {
				w.fail("%s: digest of volume %d: %w", node.name, v.id, err)
				return batches
			}
			if i == 0 {
				first = digest
			}
			if digest != first {
				w.fail("volume %d: the digest on node %d differs from the first one's at %s", v.id, node.id, digest.At)
			}
		}
	}
	return batches
}

// resolveAll asks what became of every append that was ever made.
func (w *World) resolveAll(v *volume) {
	n := w.holder(v.group)
	if n == nil {
		w.fail("group %d has no leader with a lease at the end", v.group)
		return
	}
	for _, c := range v.writers {
		for _, b := range c.batches {
			a := adapter.Append{Term: b.Term, LSN: b.LSN}
			outcome, _, err := n.member(v.group).replica.Resolve(v.id, a)
			if err != nil {
				w.fail("the outcome of the append of %s up to %s is not known: %w", c.name, b.LSN, err)
				return
			}
			w.hist.Resolved(v.id, a, outcome)
		}
	}
}

// replicaLog writes the replicas' own log lines into the trace.
type replicaLog struct {
	world *World
	node  string
}

// Enabled implements slog.Handler.
func (l replicaLog) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler.
func (l replicaLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l replicaLog) WithGroup(string) slog.Handler { return l }

// Handle implements slog.Handler.
func (l replicaLog) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	fmt.Fprintf(l.world.cfg.Trace, "%12.6fs  %-8s   %s\n", l.world.now.Seconds(), l.node, b.String())
	return nil
}
