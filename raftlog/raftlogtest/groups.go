package raftlogtest

import (
	"math"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

func manyGroups(p *place) {
	const groups = 200
	var names []pinetree.GroupID
	var updates []raftlog.Update
	// Saved in falling order, so that rising order is the store's doing.
	for g := pinetree.GroupID(groups); g >= 1; g-- {
		names = append(names, g)
		updates = append(updates, raftlog.Update{
			Group: g, Entries: entries(pinetree.RaftTerm(g), span{1, uint64(g%5) + 2}), HardState: makeHardState(pinetree.RaftTerm(g), 1, 1),
			MustSync: g == 17,
		})
	}
	p.save(updates...)
	for g := pinetree.GroupID(2); g <= groups; g += 2 {
		if err := p.store.Compact(g, 1); err != nil {
			p.Fatal(err)
		}
	}
	if err := p.store.Probe(); err != nil {
		p.Fatal(err)
	}
	slices.Sort(names)
	for range 2 {
		p.wantGroups(names...)
		for _, g := range names {
			terms := slices.Repeat([]pinetree.RaftTerm{pinetree.RaftTerm(g)}, int(g%5)+1)
			start := origin
			if g%2 == 0 {
				start, terms = raftlog.Point{Index: 1, Term: pinetree.RaftTerm(g)}, terms[1:]
			}
			p.wantLog(g, start, terms...)
			p.wantHardState(g, pinetree.RaftTerm(g), 1, 1)
		}
		p.reopen()
	}
}

func severalUpdates(p *place) {
	point := raftlog.Point{Index: 20, Term: 5}
	p.save(
		raftlog.Update{Group: 1, Entries: entries(1, span{1, 4})},
		raftlog.Update{Group: 2, Entries: entries(1, span{1, 2})},
		raftlog.Update{Group: 1, Entries: entries(2, span{2, 3}), HardState: makeHardState(2, 1, 1)},
		raftlog.Update{Group: 1, Entries: entries(2, span{3, 5}), MustSync: true},
		raftlog.Update{Group: 2, Restart: &point},
		raftlog.Update{Group: 2, Entries: entries(6, span{21, 22}), HardState: makeHardState(6, 3, 20)},
	)
	for range 2 {
		p.wantLog(1, origin, 1, 2, 2, 2)
		p.wantHardState(1, 2, 1, 1)
		p.wantLog(2, point, 6)
		p.wantHardState(2, 6, 3, 20)
		p.reopen()
	}
}

func hardState(p *place) {
	p.save(raftlog.Update{Group: 1, HardState: makeHardState(3, 2, 0), MustSync: true})
	p.save(raftlog.Update{Group: 1, Entries: entries(3, span{1, 3}), MustSync: true})
	for range 2 {
		p.wantHardState(1, 3, 2, 0)
		p.wantLog(1, origin, 3, 3)
		p.reopen()
	}
	p.save(raftlog.Update{Group: 1, HardState: makeHardState(3, 2, 2)})
	p.wantHardState(1, 3, 2, 2)
	// A restart says nothing of the hard state, unless the update does.
	p.save(raftlog.Update{Group: 1, Restart: &raftlog.Point{Index: 9, Term: 3}})
	p.wantHardState(1, 3, 2, 2)
	p.save(raftlog.Update{Group: 1, HardState: makeHardState(math.MaxUint64, math.MaxUint64, math.MaxUint64), MustSync: true})
	p.reopen()
	p.wantHardState(1, math.MaxUint64, math.MaxUint64, math.MaxUint64)
	p.save(raftlog.Update{Group: 1, HardState: makeHardState(0, 0, 0), MustSync: true})
	p.reopen()
	p.wantHardState(1, 0, 0, 0)
}

func hardStateCopied(p *place) {
	given := makeHardState(3, 2, 1)
	p.save(raftlog.Update{Group: 1, HardState: given})
	*given.Term = 99
	p.wantHardState(1, 3, 2, 1)
	got, err := p.store.View(1).HardState()
	if err != nil {
		p.Fatal(err)
	}
	*got.Term = 98
	p.wantHardState(1, 3, 2, 1)
}

func removed(p *place) {
	v := p.store.View(1)
	p.save(raftlog.Update{Group: 1, Entries: entries(4, span{1, 5}), HardState: makeHardState(4, 1, 2)},
		raftlog.Update{Group: 2, Entries: entries(1, span{1, 2}), MustSync: true})
	if err := p.store.Compact(1, 2); err != nil {
		p.Fatal(err)
	}
	if err := p.store.Remove(1); err != nil {
		p.Fatal(err)
	}
	if last, err := v.LastIndex(); last != 0 || err != nil {
		p.Errorf("a View of a removed group has LastIndex %d, %v", last, err)
	}
	for range 2 {
		p.wantGroups(2)
		p.wantLog(1, origin)
		p.wantHardState(1, 0, 0, 0)
		p.wantLog(2, origin, 1)
		p.reopen()
	}
	// The group may come back, with nothing of what it was.
	p.save(raftlog.Update{Group: 1, Entries: entries(1, span{1, 2}), MustSync: true})
	for range 2 {
		p.wantGroups(1, 2)
		p.wantLog(1, origin, 1)
		p.wantHardState(1, 0, 0, 0)
		p.reopen()
	}
}

func refused(p *place) {
	p.save(raftlog.Update{Group: 1, Entries: entries(1, span{1, 3}), HardState: makeHardState(1, 1, 1), MustSync: true})
	err := p.store.Save([]raftlog.Update{
		{Group: 1, Entries: entries(2, span{3, 4}), HardState: makeHardState(2, 2, 2), MustSync: true},
		{Group: 2, Entries: entries(1, span{1, 2})},
		{Group: 3, Entries: entries(1, span{2, 3})},
	})
	if err == nil {
		p.Fatal("a hole was saved")
	}
	for name, err := range map[string]error{
		"Save": p.store.Save([]raftlog.Update{{Group: 1}}), "Compact": p.store.Compact(1, 1),
		"Remove": p.store.Remove(1), "Probe": p.store.Probe(),
	} {
		p.wantError(err, raftlog.ErrFailed, name+" of a store that has failed")
	}
	for range 2 {
		p.wantGroups(1)
		p.wantLog(1, origin, 1, 1)
		p.wantHardState(1, 1, 1, 1)
		p.reopen()
	}
	p.save(raftlog.Update{Group: 1, Entries: entries(2, span{3, 4})})
	p.wantLog(1, origin, 1, 1, 2)
}

func reopened(p *place) {
	var terms []pinetree.RaftTerm
	for i := uint64(1); i <= 60; i++ {
		term := pinetree.RaftTerm(i/10 + 1)
		terms = append(terms, term)
		p.save(raftlog.Update{Group: 1, Entries: entries(term, span{i, i + 1}), HardState: makeHardState(term, 1, pinetree.RaftIndex(i)), MustSync: i%3 == 0})
		p.save(raftlog.Update{Group: 2, HardState: makeHardState(term, 2, 0)})
		if i%7 == 0 {
			p.reopen()
		}
		p.wantLog(1, origin, terms...)
		p.wantHardState(1, term, 1, pinetree.RaftIndex(i))
		p.wantHardState(2, term, 2, 0)
	}
}

func probed(p *place) {
	for range 5 {
		if err := p.store.Probe(); err != nil {
			p.Fatal(err)
		}
	}
	p.wantGroups()
	p.save(raftlog.Update{Group: 1, Entries: entries(1, span{1, 3})})
	if err := p.store.Probe(); err != nil {
		p.Fatal(err)
	}
	for range 2 {
		p.wantGroups(1)
		p.wantLog(1, origin, 1, 1)
		p.reopen()
	}
}
