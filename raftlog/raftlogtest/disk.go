package raftlogtest

import (
	"slices"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

// Disk is a place for a store that can be made to fail. File operations are
// counted from 1.
type Disk interface {
	// Open opens the store: an empty one at first, and what is there after
	// Close or Crash.
	Open() (raftlog.Store, error)
	// Operations is how many there have been.
	Operations() int
	// Inject lets a fault happen at the operation of that number.
	Inject(operation int, f Fault)
	// Crash ends the process that has the store open, and the faults.
	Crash(c Crash)
	// FlipBit flips one bit of all that is in files, counted from 0, and tells
	// whether there is such a bit.
	FlipBit(bit int) bool
	// Clone copies the disk, not open.
	Clone() Disk
}

// Fault is what happens at a file operation.
type Fault int

// The faults of an operation.
const (
	// Stop is the death of the process during the operation.
	Stop Fault = iota + 1
	// Fail is an I/O error. What a failed sync was to make durable is lost.
	Fail
)

// Crash says how a process ends.
type Crash struct {
	// PowerCut loses what was not synced, or parts of it, by Seed.
	PowerCut bool
	Seed     uint64
}

// RunCrash checks what a backend's files survive. The factory makes a new,
// empty disk, on which stores should be set to begin new files often. Tests
// that are named in without are left out: those of what a backend does not
// promise.
func RunCrash(t *testing.T, factory func(t *testing.T) Disk, without ...string) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func() Disk)
	}{
		{"KilledAtEveryOperation", killed},
		{"PowerCutAtEveryOperation", powerCut},
		{"CrashedAgainWhileRecovering", crashedTwice},
		{"EveryOperationFails", failing},
		{"EveryByteFlipped", flipped},
		{"EveryByteFlippedWhileOpen", flippedWhileOpen},
	} {
		if !slices.Contains(without, c.name) {
			t.Run(c.name, func(t *testing.T) { c.test(t, func() Disk { return factory(t) }) })
		}
	}
}

// RunCrashByChance crashes stores that also write in the background, at places
// that are chance: to be run beside RunCrash, whose stores do the same at
// every run.
func RunCrashByChance(t *testing.T, factory func(t *testing.T) Disk) {
	for seed := range uint64(60) {
		crashedByChance(t, seed, factory(t))
	}
}

// snapshot is what all groups of a store show.
type snapshot map[pinetree.GroupID]log

func takeSnapshot(s raftlog.Store) (snapshot, error) {
	taken := snapshot{}
	for _, group := range s.Groups() {
		l, err := readLog(s.View(group))
		if err != nil {
			return nil, err
		}
		taken[group] = l
	}
	return taken, nil
}

// history is a run of calls and what they must lead to. A step is an update of
// a Save, or a call of another kind: what a crash leaves of each group is the
// state after one of the steps.
type history struct {
	model  *memlog.Store
	calls  []call
	states []snapshot // states[i] is that after i steps
	ends   []int      // ends[i] is the number of steps up to and including call i
	saved  map[savedEntry]bool
}

// savedEntry is an entry of a group that was given to Save at some time.
type savedEntry struct {
	group pinetree.GroupID
	logEntry
}

// makeHistory generates calls, by the seed.
func makeHistory(t *testing.T, seed uint64, calls int) *history {
	g := newGenerator(seed)
	h := &history{model: memlog.New(), states: []snapshot{{}}, saved: map[savedEntry]bool{}}
	for range calls {
		h.add(t, g.next(h.model))
	}
	return h
}

// add appends a call.
func (h *history) add(t *testing.T, c call) {
	steps := []call{c}
	if len(c.updates) > 0 {
		steps = nil
	}
	for _, u := range c.updates {
		steps = append(steps, call{updates: []raftlog.Update{u}})
		for _, e := range u.Entries {
			h.saved[savedEntry{u.Group, toLogEntry(e)}] = true
		}
	}
	for _, step := range steps {
		if err := step.make(h.model); err != nil {
			t.Fatalf("the model refuses %s: %v", c, err)
		}
		state, err := takeSnapshot(h.model)
		if err != nil {
			t.Fatal(err)
		}
		h.states = append(h.states, state)
	}
	h.calls, h.ends = append(h.calls, c), append(h.ends, len(h.states)-1)
}

// progress is how far a history has come on a store.
type progress struct {
	issued int                      // steps that were begun
	synced map[pinetree.GroupID]int // steps that are durable
}

// play makes the calls on a store until one fails, and returns its error.
func (h *history) play(s raftlog.Store) (progress, error) {
	p := progress{synced: map[pinetree.GroupID]int{}}
	for i, c := range h.calls {
		p.issued = h.ends[i]
		if err := c.make(s); err != nil {
			return p, err
		}
		all := false
		for _, u := range c.updates {
			all = all || u.MustSync
		}
		if c.remove {
			p.synced[c.group] = h.ends[i]
		}
		for group := pinetree.GroupID(1); all && group <= 4; group++ {
			p.synced[group] = h.ends[i]
		}
	}
	return p, nil
}

// survived tells what is wrong with what a crash has left, or "".
func (h *history) survived(got snapshot, p progress) string {
	for group := pinetree.GroupID(1); group <= 4; group++ {
		wrong := ""
		for step := p.issued; step >= p.synced[group]; step-- {
			if wrong = h.matches(got, group, step); wrong == "" {
				break
			}
		}
		if wrong != "" {
			return wrong
		}
	}
	return ""
}

// matches tells how a group is not in the state after so many steps, or "".
func (h *history) matches(got snapshot, group pinetree.GroupID, step int) string {
	g, there := got[group]
	want, wanted := h.states[step][group]
	if there != wanted {
		return h.place(group, step, "is there: ", there)
	}
	for _, e := range g.Entries {
		if !h.saved[savedEntry{group, e}] {
			return h.place(group, step, "has an entry that was never saved: ", e)
		}
	}
	if d := g.diff(want); d != "" {
		return h.place(group, step, d, "")
	}
	return ""
}
