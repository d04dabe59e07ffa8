package raftlogtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

// place says where a state is not what it must be.
func (h *history) place(group pinetree.GroupID, step int, what string, detail any) string {
	return fmt.Sprintf("group %d, compared with the state after step %d of %d: %s%v", group, step, len(h.states)-1, what, detail)
}

// The histories that crash tests go through.
const (
	crashSeeds = 2
	crashCalls = 60
)

// eachOperation calls fn with each operation that a history makes, and a disk
// on which it has not begun.
func eachOperation(t *testing.T, factory func() Disk, fn func(r *crashRun, operation int)) {
	for seed := range uint64(crashSeeds) {
		h := makeHistory(t, seed, crashCalls)
		dry := factory()
		s := mustOpen(t, dry)
		if _, err := h.play(s); err != nil {
			t.Fatalf("seed %d without a fault: %v", seed, err)
		}
		operations := dry.Operations()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if operations < crashCalls {
			t.Fatalf("seed %d: %d operations, which cannot be all", seed, operations)
		}
		for operation := 1; operation <= operations; operation++ {
			r := &crashRun{T: t, history: h, disk: factory(), seed: uint64(operation), name: fmt.Sprintf("seed %d, operation %d", seed, operation)}
			fn(r, operation)
			if t.Failed() {
				return
			}
		}
	}
}

func mustOpen(t *testing.T, d Disk) raftlog.Store {
	t.Helper()
	s, err := d.Open()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

// crashRun is one history with one fault.
type crashRun struct {
	*testing.T
	history *history
	disk    Disk
	name    string
	seed    uint64 // of the power cut after the recovery
}

// run plays the history up to the fault. It returns how far it came, and the
// store if it could be opened.
func (r *crashRun) run() (progress, raftlog.Store, error) {
	s, err := r.disk.Open()
	if err != nil {
		return progress{}, nil, err
	}
	p, err := r.history.play(s)
	return p, s, err
}

// check opens the store after a crash and checks all that it must keep to.
func (r *crashRun) check(p progress) {
	r.Helper()
	s, err := r.disk.Open()
	if err != nil {
		r.Errorf("%s: a crash made the store refuse to open: %v", r.name, err)
		return
	}
	got, err := takeSnapshot(s)
	if err != nil {
		r.Errorf("%s: %v", r.name, err)
		return
	}
	if wrong := r.history.survived(got, p); wrong != "" {
		r.Errorf("%s: %s", r.name, wrong)
		return
	}
	// Raft takes what it finds at the start for durable. Half of the runs leave
	// the cut to goOn, so that something is saved before it.
	if r.seed%2 == 0 {
		r.disk.Crash(Crash{PowerCut: true, Seed: r.seed})
		s, err = r.disk.Open()
		if err != nil {
			r.Errorf("%s: a power cut after recovery made the store refuse to open: %v", r.name, err)
			return
		}
		if wrong := same(s, got); wrong != "" {
			r.Errorf("%s: a power cut after recovery changed what it had shown: %s", r.name, wrong)
			return
		}
	}
	r.goOn(s)
}

// same compares a store with a snapshot.
func same(s raftlog.Store, want snapshot) string {
	got, err := takeSnapshot(s)
	if err != nil {
		return err.Error()
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d groups, want %d", len(got), len(want))
	}
	for group, w := range want {
		g, ok := got[group]
		if d := g.diff(w); d != "" || !ok {
			return fmt.Sprintf("group %d: %s", group, d)
		}
	}
	return ""
}

// goOn saves more after a recovery, and expects to find it.
func (r *crashRun) goOn(s raftlog.Store) {
	r.Helper()
	for i := range 2 {
		want, err := takeSnapshot(s)
		if err != nil {
			r.Errorf("%s: %v", r.name, err)
			return
		}
		var updates []raftlog.Update
		for group := pinetree.GroupID(1); group <= 4; group++ {
			l := want[group]
			added := entries(1000, span{l.last() + 1, l.last() + 3})
			updates = append(updates, raftlog.Update{Group: group, Entries: added, MustSync: true})
			for _, e := range added {
				l.Entries = append(l.Entries, toLogEntry(e))
			}
			want[group] = l
		}
		if err := s.Save(updates); err != nil {
			r.Errorf("%s: Save after recovery: %v", r.name, err)
			return
		}
		r.disk.Crash(Crash{PowerCut: true, Seed: uint64(i)})
		if s, err = r.disk.Open(); err != nil {
			r.Errorf("%s: open after a Save after recovery: %v", r.name, err)
			return
		}
		if wrong := same(s, want); wrong != "" {
			r.Errorf("%s: after a Save after recovery: %s", r.name, wrong)
			return
		}
	}
	if err := s.Close(); err != nil {
		r.Errorf("%s: Close: %v", r.name, err)
	}
}

func killed(t *testing.T, factory func() Disk) {
	eachOperation(t, factory, func(r *crashRun, operation int) {
		r.disk.Inject(operation, Stop)
		p, s, err := r.run()
		if err == nil {
			// What is done beside the calls may be what was stopped.
			err = s.Probe()
		}
		if err == nil {
			r.Errorf("%s: the process was stopped and every call succeeded", r.name)
		}
		// A killed process loses nothing that it wrote.
		r.disk.Crash(Crash{})
		r.check(p)
	})
}

func powerCut(t *testing.T, factory func() Disk) {
	for cut := range uint64(3) {
		eachOperation(t, factory, func(r *crashRun, operation int) {
			r.name = fmt.Sprintf("%s, power cut %d", r.name, cut)
			r.seed = uint64(operation)*3 + cut
			r.disk.Inject(operation, Stop)
			p, _, _ := r.run()
			r.disk.Crash(Crash{PowerCut: true, Seed: r.seed + 1<<32})
			r.check(p)
		})
	}
}

func crashedTwice(t *testing.T, factory func() Disk) {
	random := rand.New(rand.NewPCG(1, 1))
	eachOperation(t, factory, func(r *crashRun, operation int) {
		r.disk.Inject(operation, Stop)
		p, _, _ := r.run()
		for again := range 3 {
			r.disk.Crash(Crash{PowerCut: random.IntN(3) > 0, Seed: uint64(operation)})
			at := 1 + random.IntN(12)
			r.disk.Inject(r.disk.Operations()+at, Stop)
			s, err := r.disk.Open()
			if errors.Is(err, pinetree.ErrCorrupt) {
				r.Errorf("%s, recovery %d stopped at its operation %d: %v", r.name, again, at, err)
				return
			}
			if err == nil {
				s.Close()
			}
		}
		r.disk.Crash(Crash{})
		r.check(p)
	})
}

func failing(t *testing.T, factory func() Disk) {
	eachOperation(t, factory, func(r *crashRun, operation int) {
		r.disk.Inject(operation, Fail)
		p, s, err := r.run()
		if s != nil && err != nil {
			if !errors.Is(err, raftlog.ErrFailed) {
				r.Errorf("%s: a call failed with %v, which is not ErrFailed", r.name, err)
			}
			for name, err := range map[string]error{
				"Save": s.Save([]raftlog.Update{{Group: 1, MustSync: true}}), "Probe": s.Probe(), "Remove": s.Remove(1), "Compact": s.Compact(1, 1),
			} {
				if !errors.Is(err, raftlog.ErrFailed) {
					r.Errorf("%s: %s after a failure: %v, want ErrFailed", r.name, name, err)
				}
			}
			if _, err := takeSnapshot(s); err != nil {
				r.Errorf("%s: Views do not go on after a failure: %v", r.name, err)
			}
		}
		copied := r.disk.Clone()
		r.disk.Crash(Crash{})
		r.check(p)
		r.disk, r.name = copied, r.name+", then a power cut"
		r.disk.Crash(Crash{PowerCut: true, Seed: uint64(operation)})
		r.check(p)
	})
}

// crashedByChance plays a history up to some operation, or to its end.
func crashedByChance(t *testing.T, seed uint64, disk Disk) {
	random := rand.New(rand.NewPCG(seed, 3))
	r := &crashRun{T: t, history: makeHistory(t, seed%7, crashCalls), disk: disk, seed: seed}
	operation := 1 + random.IntN(8*crashCalls)
	r.name = fmt.Sprintf("by chance, seed %d, operation %d", seed, operation)
	disk.Inject(operation, Fault(1+random.IntN(2)))
	p, _, _ := r.run()
	disk.Crash(Crash{PowerCut: random.IntN(3) > 0, Seed: random.Uint64()})
	r.check(p)
}
