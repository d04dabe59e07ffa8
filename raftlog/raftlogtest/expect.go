package raftlogtest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

// span is the indexes [lo, hi).
type span struct{ lo, hi uint64 }

// entry makes an entry whose data tells which one it is.
func entry(term pinetree.RaftTerm, index uint64) *raftpb.Entry {
	t := uint64(term)
	kind := raftpb.EntryNormal
	return &raftpb.Entry{Index: &index, Term: &t, Type: &kind, Data: fmt.Appendf(nil, "entry %d of term %d", index, term)}
}

func entries(term pinetree.RaftTerm, s span) []*raftpb.Entry {
	var made []*raftpb.Entry
	for i := s.lo; i < s.hi; i++ {
		made = append(made, entry(term, i))
	}
	return made
}

func makeHardState(term pinetree.RaftTerm, vote pinetree.NodeID, commit pinetree.RaftIndex) *raftpb.HardState {
	t, v, c := uint64(term), uint64(vote), uint64(commit)
	return &raftpb.HardState{Term: &t, Vote: &v, Commit: &c}
}

// log is what a View shows of one group.
type log struct {
	Term, Vote, Commit uint64
	Start              raftlog.Point // before the first entry
	Entries            []logEntry
}

type logEntry struct {
	Index, Term uint64
	Kind        raftpb.EntryType
	Data        string
}

func (l log) last() uint64 { return uint64(l.Start.Index) + uint64(len(l.Entries)) }

func toLogEntry(e *raftpb.Entry) logEntry {
	return logEntry{Index: e.GetIndex(), Term: e.GetTerm(), Kind: e.GetType(), Data: string(e.GetData())}
}

// readLog reads all that a View shows, and checks that its methods agree.
func readLog(v raftlog.View) (log, error) {
	var l log
	h, err := v.HardState()
	if err != nil {
		return l, fmt.Errorf("HardState: %w", err)
	}
	l.Term, l.Vote, l.Commit = h.GetTerm(), h.GetVote(), h.GetCommit()
	first, err := v.FirstIndex()
	if err != nil {
		return l, fmt.Errorf("FirstIndex: %w", err)
	}
	last, err := v.LastIndex()
	if err != nil {
		return l, fmt.Errorf("LastIndex: %w", err)
	}
	if first == 0 || last+1 < first {
		return l, fmt.Errorf("FirstIndex is %d, LastIndex is %d", first, last)
	}
	term, err := v.Term(first - 1)
	if err != nil {
		return l, fmt.Errorf("Term(%d), which is FirstIndex-1: %w", first-1, err)
	}
	l.Start = raftlog.Point{Index: pinetree.RaftIndex(first - 1), Term: pinetree.RaftTerm(term)}
	read, err := v.Entries(first, last+1, math.MaxUint64)
	if err != nil {
		return l, fmt.Errorf("Entries(%d, %d): %w", first, last+1, err)
	}
	if uint64(len(read)) != last+1-first {
		return l, fmt.Errorf("Entries(%d, %d) gave %d entries", first, last+1, len(read))
	}
	for i, e := range read {
		want := first + uint64(i)
		term, err := v.Term(want)
		if err != nil || term != e.GetTerm() || e.GetIndex() != want {
			return l, fmt.Errorf("entry %d came as index %d of term %d; Term says %d, %v", want, e.GetIndex(), e.GetTerm(), term, err)
		}
		l.Entries = append(l.Entries, toLogEntry(e))
	}
	return l, nil
}

// diff tells where got is not want, or "". A store may drop compacted entries
// later than the model does, so got may begin before want.
func (got log) diff(want log) string {
	if got.Term != want.Term || got.Vote != want.Vote || got.Commit != want.Commit {
		return fmt.Sprintf("hard state is {%d %d %d}, want {%d %d %d}", got.Term, got.Vote, got.Commit, want.Term, want.Vote, want.Commit)
	}
	if got.Start.Index > want.Start.Index {
		return fmt.Sprintf("FirstIndex is %d, want %d", got.Start.Index+1, want.Start.Index+1)
	}
	if got.last() != want.last() {
		return fmt.Sprintf("LastIndex is %d, want %d", got.last(), want.last())
	}
	start := got.Start
	extra := int(want.Start.Index - got.Start.Index)
	if extra > 0 {
		start = raftlog.Point{Index: want.Start.Index, Term: pinetree.RaftTerm(got.Entries[extra-1].Term)}
	}
	if start != want.Start {
		return fmt.Sprintf("term of %d is %d, want %d", start.Index, start.Term, want.Start.Term)
	}
	for i, w := range want.Entries {
		if g := got.Entries[extra+i]; g != w {
			return fmt.Sprintf("entry %d is %+v, want %+v", w.Index, g, w)
		}
	}
	return ""
}

// wantLog checks all that the group's View shows: entries with these terms
// after start.
func (p *place) wantLog(group pinetree.GroupID, start raftlog.Point, terms ...pinetree.RaftTerm) {
	p.Helper()
	v := p.store.View(group)
	got, err := readLog(v)
	if err != nil {
		p.Fatalf("group %d: %v", group, err)
	}
	want := log{Term: got.Term, Vote: got.Vote, Commit: got.Commit, Start: start}
	for i, term := range terms {
		want.Entries = append(want.Entries, toLogEntry(entry(term, uint64(start.Index)+1+uint64(i))))
	}
	if d := got.diff(want); d != "" {
		p.Fatalf("group %d: %s", group, d)
	}
}

func (p *place) wantHardState(group pinetree.GroupID, term pinetree.RaftTerm, vote pinetree.NodeID, commit pinetree.RaftIndex) {
	p.Helper()
	h, err := p.store.View(group).HardState()
	if err != nil {
		p.Fatalf("HardState: %v", err)
	}
	if h.GetTerm() != uint64(term) || h.GetVote() != uint64(vote) || h.GetCommit() != uint64(commit) {
		p.Fatalf("group %d: hard state is %v, want term %d, vote %d, commit %d", group, h, term, vote, commit)
	}
}

func (p *place) wantGroups(groups ...pinetree.GroupID) {
	p.Helper()
	if got := p.store.Groups(); !slices.Equal(got, groups) {
		p.Fatalf("Groups are %v, want %v", got, groups)
	}
}

func (p *place) wantError(err, want error, what string) {
	p.Helper()
	if !errors.Is(err, want) {
		p.Errorf("%s: %v, want %v", what, err, want)
	}
}

// wantRead checks one call of Entries.
func (p *place) wantRead(v raftlog.View, s span, maxBytes uint64, count int) {
	p.Helper()
	got, err := v.Entries(s.lo, s.hi, maxBytes)
	if err != nil || len(got) != count {
		p.Errorf("Entries(%d, %d, %d): %d entries, %v, want %d", s.lo, s.hi, maxBytes, len(got), err, count)
		return
	}
	for i, e := range got {
		if e.GetIndex() != s.lo+uint64(i) || !bytes.Contains(e.Data, fmt.Appendf(nil, "entry %d ", s.lo+uint64(i))) {
			p.Errorf("Entries(%d, %d, %d): entry %d is %v", s.lo, s.hi, maxBytes, i, e)
		}
	}
}
