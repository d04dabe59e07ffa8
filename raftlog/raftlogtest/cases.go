package raftlogtest

import (
	"bytes"
	"errors"
	"math"
	"strings"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

var origin raftlog.Point

func unknownGroup(p *place) {
	p.wantLog(7, origin)
	p.wantHardState(7, 0, 0, 0)
	p.wantGroups()
	if err := p.store.Save(nil); err != nil {
		p.Errorf("Save of nothing: %v", err)
	}
	if err := p.store.Remove(7); err != nil {
		p.Errorf("Remove of a group that is not there: %v", err)
	}
	if err := p.store.Compact(7, 3); err != nil {
		p.Errorf("Compact of a group that is not there: %v", err)
	}
	p.wantGroups()
	p.save(raftlog.Update{Group: 7, MustSync: true})
	p.wantGroups(7)
	p.wantLog(7, origin)
}

func appended(p *place) {
	v := p.store.View(1)
	p.save(raftlog.Update{Group: 1, Entries: entries(1, span{1, 4}), MustSync: true})
	p.save(raftlog.Update{Group: 1, Entries: entries(2, span{4, 6})})
	p.wantLog(1, origin, 1, 1, 1, 2, 2)
	p.wantRead(v, span{2, 5}, math.MaxUint64, 3)
	p.wantRead(v, span{5, 6}, math.MaxUint64, 1)
	p.wantRead(v, span{3, 3}, math.MaxUint64, 0)
	p.wantRead(v, span{6, 6}, math.MaxUint64, 0)
	kind, index, term := raftpb.EntryConfChangeV2, uint64(6), uint64(2)
	conf := &raftpb.Entry{Index: &index, Term: &term, Type: &kind, Data: []byte{0, 1, 255}}
	empty := entry(3, 7)
	empty.Data = nil
	p.save(raftlog.Update{Group: 1, Entries: []*raftpb.Entry{conf, empty}, MustSync: true})
	for range 2 {
		got, err := p.store.View(1).Entries(6, 8, math.MaxUint64)
		if err != nil || len(got) != 2 || toLogEntry(got[0]) != toLogEntry(conf) || toLogEntry(got[1]) != toLogEntry(empty) {
			p.Fatalf("Entries(6, 8): %v, %v, want %v, %v", got, err, conf, empty)
		}
		p.reopen()
	}
}

func overwritten(p *place) {
	p.save(raftlog.Update{Group: 1, Entries: entries(1, span{1, 6}), MustSync: true})
	p.save(raftlog.Update{Group: 1, Entries: entries(2, span{3, 5}), MustSync: true})
	for range 2 {
		p.wantLog(1, origin, 1, 1, 2, 2)
		_, err := p.store.View(1).Term(5)
		p.wantError(err, raftlog.ErrUnavailable, "Term of an entry that was overwritten away")
		p.reopen()
	}
	p.save(raftlog.Update{Group: 1, Entries: entries(3, span{1, 2})})
	p.wantLog(1, origin, 3)
	p.save(raftlog.Update{Group: 1, Entries: entries(3, span{2, 9})})
	p.wantLog(1, origin, 3, 3, 3, 3, 3, 3, 3, 3)
}

func restarted(p *place) {
	p.save(raftlog.Update{Group: 1, Entries: entries(1, span{1, 6}), MustSync: true})
	up := raftlog.Point{Index: 100, Term: 7}
	p.save(raftlog.Update{Group: 1, Restart: &up, MustSync: true})
	for range 2 {
		p.wantLog(1, up)
		_, err := p.store.View(1).Entries(3, 5, math.MaxUint64)
		p.wantError(err, raftlog.ErrCompacted, "Entries before the restart")
		_, err = p.store.View(1).Term(99)
		p.wantError(err, raftlog.ErrCompacted, "Term before the restart")
		p.reopen()
	}
	p.save(raftlog.Update{Group: 1, Entries: entries(8, span{101, 103})})
	p.wantLog(1, up, 8, 8)
	down := raftlog.Point{Index: 2, Term: 1}
	p.save(raftlog.Update{Group: 1, Restart: &down})
	p.wantLog(1, down)
	p.save(raftlog.Update{Group: 1, Entries: entries(9, span{3, 4}), MustSync: true})
	p.reopen()
	p.wantLog(1, down, 9)
}

func restartedWhole(p *place) {
	start := raftlog.Point{Index: 10, Term: 2}
	p.save(raftlog.Update{
		Group: 5, Restart: &start, HardState: makeHardState(3, 2, 10), Entries: entries(3, span{11, 14}), MustSync: true,
	})
	for range 2 {
		p.wantLog(5, start, 3, 3, 3)
		p.wantHardState(5, 3, 2, 10)
		p.reopen()
	}
}

func compacted(p *place) {
	p.save(raftlog.Update{Group: 1, Entries: entries(1, span{1, 5}), MustSync: true})
	p.save(raftlog.Update{Group: 1, Entries: entries(4, span{5, 9}), MustSync: true})
	if err := p.store.Compact(1, 5); err != nil {
		p.Fatal(err)
	}
	p.wantLog(1, raftlog.Point{Index: 5, Term: 4}, 4, 4, 4)
	p.save(raftlog.Update{Group: 1, Entries: entries(5, span{9, 10}), MustSync: true})
	p.reopen()
	p.wantLog(1, raftlog.Point{Index: 5, Term: 4}, 4, 4, 4, 5)
	// Entries that follow directly on the compaction may be overwritten.
	p.save(raftlog.Update{Group: 1, Entries: entries(6, span{6, 8}), MustSync: true})
	p.wantLog(1, raftlog.Point{Index: 5, Term: 4}, 6, 6)
	p.reopen()
	p.wantLog(1, raftlog.Point{Index: 5, Term: 4}, 6, 6)
}

func compactedOutside(p *place) {
	p.save(raftlog.Update{Group: 1, Entries: entries(1, span{1, 5}), MustSync: true})
	if err := p.store.Compact(1, 3); err != nil {
		p.Fatal(err)
	}
	for _, index := range []pinetree.RaftIndex{0, 2, 3, 5, 1000, math.MaxUint64} {
		if err := p.store.Compact(1, index); err != nil {
			p.Errorf("Compact(%d): %v", index, err)
		}
		p.wantLog(1, raftlog.Point{Index: 3, Term: 1}, 1)
	}
}

func compactedAll(p *place) {
	p.save(raftlog.Update{Group: 1, Entries: entries(2, span{1, 5}), HardState: makeHardState(2, 1, 4), MustSync: true})
	if err := p.store.Compact(1, 4); err != nil {
		p.Fatal(err)
	}
	p.save(raftlog.Update{Group: 2, MustSync: true})
	for range 2 {
		p.wantLog(1, raftlog.Point{Index: 4, Term: 2})
		p.wantHardState(1, 2, 1, 4)
		p.reopen()
	}
	p.save(raftlog.Update{Group: 1, Entries: entries(2, span{5, 7}), MustSync: true})
	p.wantLog(1, raftlog.Point{Index: 4, Term: 2}, 2, 2)
}

func outside(p *place) {
	start := raftlog.Point{Index: 10, Term: 3}
	p.save(raftlog.Update{Group: 1, Restart: &start, Entries: entries(3, span{11, 15})})
	v := p.store.View(1)
	for _, s := range []span{{10, 12}, {0, 12}, {10, 10}, {5, 100}} {
		_, err := v.Entries(s.lo, s.hi, math.MaxUint64)
		p.wantError(err, raftlog.ErrCompacted, "Entries below FirstIndex")
	}
	for _, s := range []span{{11, 16}, {15, 16}, {16, 17}} {
		_, err := v.Entries(s.lo, s.hi, math.MaxUint64)
		p.wantError(err, raftlog.ErrUnavailable, "Entries above LastIndex")
	}
	_, err := v.Term(9)
	p.wantError(err, raftlog.ErrCompacted, "Term below FirstIndex-1")
	_, err = v.Term(15)
	p.wantError(err, raftlog.ErrUnavailable, "Term above LastIndex")
	_, err = p.store.View(9).Entries(1, 2, math.MaxUint64)
	p.wantError(err, raftlog.ErrUnavailable, "Entries of an empty log")
	_, err = p.store.View(9).Term(1)
	p.wantError(err, raftlog.ErrUnavailable, "Term in an empty log")
	_, err = p.store.View(9).Entries(0, 1, math.MaxUint64)
	p.wantError(err, raftlog.ErrCompacted, "Entries from 0")
}

func maxBytes(p *place) {
	var made []*raftpb.Entry
	for i := uint64(1); i <= 10; i++ {
		e := entry(1, i)
		e.Data = append(e.Data, bytes.Repeat([]byte{'.'}, 1000-len(e.Data))...)
		made = append(made, e)
	}
	p.save(raftlog.Update{Group: 1, Entries: made, MustSync: true})
	for range 2 {
		v := p.store.View(1)
		for _, tiny := range []uint64{0, 1, 999} {
			p.wantRead(v, span{1, 11}, tiny, 1)
			p.wantRead(v, span{10, 11}, tiny, 1)
		}
		// Stores count a few bytes per entry beside its data, up to 100.
		p.wantRead(v, span{1, 11}, 1999, 1)
		p.wantRead(v, span{1, 11}, 2200, 2)
		p.wantRead(v, span{3, 11}, 5500, 5)
		p.wantRead(v, span{1, 11}, 11000, 10)
		p.wantRead(v, span{1, 4}, 11000, 3)
		p.reopen()
	}
}

func large(p *place) {
	big := entry(1, 2)
	big.Data = append(big.Data, bytes.Repeat([]byte("0123456789abcdef"), 200_000)...)
	p.save(raftlog.Update{Group: 1, Entries: []*raftpb.Entry{entry(1, 1), big, entry(1, 3)}, MustSync: true})
	p.save(raftlog.Update{Group: 1, Entries: []*raftpb.Entry{entry(1, 4)}, MustSync: true})
	for range 2 {
		got, err := p.store.View(1).Entries(2, 3, 0)
		if err != nil || len(got) != 1 || !bytes.Equal(got[0].Data, big.Data) {
			p.Fatalf("a large entry came back wrong: %v", err)
		}
		p.wantRead(p.store.View(1), span{1, 5}, math.MaxUint64, 4)
		p.reopen()
	}
}

func holes(p *place) {
	point := raftlog.Point{Index: 10, Term: 2}
	for name, bad := range map[string]raftlog.Update{
		"after the last entry":       {Group: 1, Entries: entries(1, span{6, 8})},
		"in an empty log":            {Group: 2, Entries: entries(1, span{2, 3})},
		"from 0":                     {Group: 2, Entries: entries(1, span{0, 2})},
		"after a restart":            {Group: 3, Entries: entries(2, span{12, 13})},
		"in the update that resets":  {Group: 1, Restart: &point, Entries: entries(2, span{12, 13})},
		"at the point of a restart":  {Group: 3, Entries: entries(2, span{10, 12})},
		"in what was compacted":      {Group: 4, Entries: entries(2, span{2, 9})},
		"between the update's own":   {Group: 1, Entries: append(entries(1, span{5, 6}), entry(1, 7))},
		"an entry twice in one call": {Group: 1, Entries: append(entries(1, span{5, 6}), entry(1, 5))},
		"no group":                   {Entries: entries(1, span{1, 2})},
	} {
		p.reopen()
		for _, group := range p.store.Groups() {
			if err := p.store.Remove(group); err != nil {
				p.Fatal(err)
			}
		}
		p.save(raftlog.Update{Group: 1, Entries: entries(1, span{1, 5})}, raftlog.Update{Group: 3, Restart: &point},
			raftlog.Update{Group: 4, Entries: entries(1, span{1, 5}), MustSync: true})
		if err := p.store.Compact(4, 2); err != nil {
			p.Fatal(err)
		}
		err := p.store.Save([]raftlog.Update{{Group: 9, Entries: entries(1, span{1, 2})}, bad})
		if err == nil {
			p.Errorf("entries %s were saved", name)
		} else if errors.Is(err, raftlog.ErrFailed) && err.Error() == raftlog.ErrFailed.Error() || !strings.ContainsAny(err.Error(), "0123456789") {
			p.Errorf("entries %s are refused without saying which group and index: %v", name, err)
		}
		p.wantGroups(1, 3, 4)
		p.wantLog(1, origin, 1, 1, 1, 1)
		p.wantLog(3, point)
		p.wantError(p.store.Save([]raftlog.Update{{Group: 9}}), raftlog.ErrFailed, "Save after a refused one")
	}
}
