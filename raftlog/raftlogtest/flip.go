package raftlogtest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

// flipRun makes a history that ends in a synced Save, with zeroes among its
// bytes, so that nothing on the disk may be taken for a torn write.
func flipRun(t *testing.T, factory func() Disk) (*crashRun, raftlog.Store, progress) {
	h := makeHistory(t, 7, 25)
	last := h.states[len(h.states)-1][1].last()
	final := raftlog.Update{Group: 1, Entries: entries(2000, span{last + 1, last + 4}), MustSync: true}
	final.Entries[1].Data = append(final.Entries[1].Data, make([]byte, 1500)...)
	h.add(t, call{updates: []raftlog.Update{final}})
	r := &crashRun{T: t, history: h, disk: factory()}
	s := mustOpen(t, r.disk)
	p, err := h.play(s)
	if err != nil {
		t.Fatal(err)
	}
	return r, s, p
}

// flipped flips one bit of each byte: the store must refuse to open or to
// read, or show what it would have shown.
func flipped(t *testing.T, factory func() Disk) {
	r, _, p := flipRun(t, factory)
	r.disk.Crash(Crash{})
	refusals, at := 0, 0
	for ; ; at++ {
		disk := r.disk.Clone()
		if !disk.FlipBit(8*at + at%8) {
			break
		}
		name := fmt.Sprintf("bit %d of byte %d flipped", at%8, at)
		s, err := disk.Open()
		if err != nil {
			refusals++
			var corrupt *pinetree.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Where == "" || corrupt.What == "" {
				t.Errorf("%s: refused to open without naming the place: %v", name, err)
			}
			continue
		}
		if r.read(s, p, name) {
			refusals++
		}
		s.Close()
	}
	if refusals < at/4 {
		t.Errorf("of %d flipped bits only %d were noticed", at, refusals)
	}
}

// flippedWhileOpen does the same below a store that is open.
func flippedWhileOpen(t *testing.T, factory func() Disk) {
	r, s, p := flipRun(t, factory)
	refusals := 0
	for at := 0; r.disk.FlipBit(8*at + at%8); at++ {
		if r.read(s, p, fmt.Sprintf("bit %d of byte %d flipped", at%8, at)) {
			refusals++
		}
		r.disk.FlipBit(8*at + at%8)
	}
	if refusals == 0 {
		t.Error("no flipped bit was ever noticed; does the store read its disk?")
	}
	if r.read(s, p, "nothing flipped") {
		t.Error("the store does not recover from a bad read")
	}
	s.Close()
}

// read reads everything and tells whether the store refused to give it.
func (r *crashRun) read(s raftlog.Store, p progress, name string) (refused bool) {
	r.Helper()
	got, err := takeSnapshot(s)
	switch {
	case errors.Is(err, pinetree.ErrCorrupt):
		return true
	case err != nil:
		r.Errorf("%s: %v", name, err)
	default:
		if wrong := r.history.survived(got, p); wrong != "" {
			r.Errorf("%s: %s", name, wrong)
		}
	}
	return false
}
