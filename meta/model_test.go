package meta_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/meta"
)

// state is the model of one revision: a map, and nothing clever.
type state map[string]meta.Item

// model keeps every state there ever was.
type model struct {
	states    []state // by revision
	changes   []meta.Change
	compacted pinetree.MetaRevision
	outcomes  map[string]outcome
	ids       []string
}

type outcome struct {
	txn    meta.Txn
	result meta.Result
}

func newModel() *model { return &model{states: []state{{}}, outcomes: map[string]outcome{}} }

func (m *model) newest() state { return m.states[len(m.states)-1] }

func in(s meta.Span, key string) bool {
	switch {
	case len(s.End) == 0:
		return key == string(s.Key)
	case string(s.End) == "\x00":
		return key >= string(s.Key)
	}
	return key >= string(s.Key) && key < string(s.End)
}

func (s state) read(span meta.Span, limit int) (items []meta.Item, more bool) {
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if !in(span, key) {
			continue
		}
		if limit > 0 && len(items) == limit {
			return items, true
		}
		items = append(items, s[key])
	}
	return items, false
}

func (s state) holds(c meta.Compare) bool {
	item, there := s[string(c.Key)]
	a, b := fmt.Sprintf("%20d", item.Version), fmt.Sprintf("%20d", c.Number)
	switch c.Target {
	case meta.TargetCreated:
		a = fmt.Sprintf("%20d", item.Created)
	case meta.TargetModified:
		a = fmt.Sprintf("%20d", item.Modified)
	case meta.TargetValue:
		if !there {
			return c.Relation == meta.NotEqual
		}
		a, b = string(item.Value), string(c.Value)
	}
	return map[meta.Relation]bool{meta.Equal: a == b, meta.NotEqual: a != b, meta.Less: a < b, meta.Greater: a > b}[c.Relation]
}

// carryOut does a transaction as its definition says.
func (m *model) carryOut(x meta.Txn, quota int64) (result meta.Result, err string) {
	if was, known := m.outcomes[string(x.ID)]; known && len(x.ID) > 0 {
		was.result.Repeated = true
		return was.result, ""
	}
	before := m.newest()
	next, touched := maps.Clone(before), map[string]bool{}
	revision := pinetree.MetaRevision(len(m.states))
	result.Succeeded = !slices.ContainsFunc(x.Compares, func(c meta.Compare) bool { return !before.holds(c) })
	ops, puts := x.Then, false
	if !result.Succeeded {
		ops = x.Otherwise
	}
	for _, op := range ops {
		r := meta.OpResult{}
		switch op.Kind {
		case meta.OpPut:
			puts = true
			item := meta.Item{Key: op.Key, Value: op.Value, Created: revision, Modified: revision, Version: 1}
			if old, there := next[string(op.Key)]; there {
				item.Created, item.Version = old.Created, old.Version
				if old.Modified != revision {
					item.Version++
				}
			}
			next[string(op.Key)], touched[string(op.Key)] = item, true
		case meta.OpDelete:
			for key := range maps.Clone(next) {
				if in(op.Span, key) {
					delete(next, key)
					touched[key] = true
					r.Deleted++
				}
			}
		case meta.OpGet:
			r.Items, r.More = before.read(op.Span, op.Limit)
		}
		result.Ops = append(result.Ops, r)
	}
	var changes []meta.Change
	for _, key := range slices.Sorted(maps.Keys(touched)) {
		item, there := next[key]
		if _, was := before[key]; there || was {
			if !there {
				item = meta.Item{Key: []byte(key), Modified: revision}
			}
			changes = append(changes, meta.Change{Item: item, Deleted: !there})
		}
	}
	result.Revision = revision - 1
	if len(changes) > 0 {
		if puts && m.bytes(changes...) > quota {
			result, err = meta.Result{}, "over quota"
		} else {
			m.states, m.changes = append(m.states, next), append(m.changes, changes...)
			result.Revision = revision
		}
	}
	if err == "" && len(changes) > 0 {
		m.remember(x, result)
	}
	return result, err
}

func (m *model) remember(x meta.Txn, result meta.Result) {
	if len(x.ID) == 0 {
		return
	}
	m.outcomes[string(x.ID)] = outcome{x, result}
	if m.ids = append(m.ids, string(x.ID)); len(m.ids) > meta.MaxMemories {
		delete(m.outcomes, m.ids[0])
		m.ids = m.ids[1:]
	}
}

// bytes adds up what a reader of the states from compacted on can still see: the
// changes above it, and the newest of each key up to it.
func (m *model) bytes(more ...meta.Change) (sum int64) {
	seen := map[string]bool{}
	for _, c := range slices.Backward(m.changes) {
		old := c.Modified <= m.compacted
		if !old || !seen[string(c.Key)] && !c.Deleted {
			sum += c.Bytes()
		}
		seen[string(c.Key)] = seen[string(c.Key)] || old
	}
	for _, c := range more {
		sum += c.Bytes()
	}
	return sum
}

var keyGen = rapid.SliceOfN(rapid.SampledFrom([]byte("ab\x00\xff")), 1, 3)

func drawSpan(t *rapid.T) meta.Span {
	s := meta.Span{Key: keyGen.Draw(t, "key")}
	switch rapid.IntRange(0, 3).Draw(t, "span") {
	case 0:
		s.End = keyGen.Draw(t, "end")
	case 1:
		s.End = []byte{0}
	}
	return s
}

func drawTxn(t *rapid.T) (x meta.Txn) {
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		x.Compares = append(x.Compares, meta.Compare{
			Key: keyGen.Draw(t, "key"), Target: meta.Target(rapid.IntRange(0, 3).Draw(t, "target")),
			Relation: meta.Relation(rapid.IntRange(0, 3).Draw(t, "relation")),
			Value:    keyGen.Draw(t, "value"), Number: rapid.Uint64Range(0, 6).Draw(t, "number"),
		})
	}
	for _, branch := range []*[]meta.Op{&x.Then, &x.Otherwise} {
		for range rapid.IntRange(0, 4).Draw(t, "ops") {
			op := meta.Op{Kind: meta.OpKind(rapid.IntRange(1, 3).Draw(t, "op")), Span: drawSpan(t)}
			switch op.Kind {
			case meta.OpPut:
				op.End, op.Value = nil, keyGen.Draw(t, "value")
			case meta.OpGet:
				op.Limit = rapid.IntRange(0, 3).Draw(t, "limit")
			}
			*branch = append(*branch, op)
		}
	}
	if rapid.Bool().Draw(t, "has id") {
		x.ID = []byte{'i', byte(rapid.IntRange(0, 255).Draw(t, "id"))}
	}
	return x
}

// TestTablesAreWhatTheModelSays compares with maps that are copied for every
// revision: results, every readable state, what changed since, bytes; and with
// tables that were loaded from records, and that were advanced in one step.
func TestTablesAreWhatTheModelSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, table, start := newModel(), meta.Empty(), meta.Empty()
		quota := rapid.SampledFrom([]int64{1 << 20, 3000}).Draw(t, "quota")
		var stored []meta.Record // all that ever was
		whole := meta.Delta{}
		steps := rapid.IntRange(1, 40).Draw(t, "steps")
		for index := range steps {
			var d meta.Delta
			if rapid.IntRange(0, 9).Draw(t, "compact") == 0 {
				m.compacted = max(m.compacted, table.Reachable(pinetree.MetaRevision(rapid.IntRange(0, len(m.states)-1).Draw(t, "to")), 5))
				d = meta.Delta{Revision: table.Revision(), Compacted: m.compacted}
			} else {
				x := drawTxn(t)
				for n := range m.ids { // now and then the very same once more
					if len(x.ID) > 0 && m.ids[n] == string(x.ID) {
						x = m.outcomes[m.ids[n]].txn
					}
				}
				want, refusal := m.carryOut(x, quota)
				var got meta.Result
				var err error
				d, got, err = meta.Evaluate(table, meta.Proposal{Txn: x, Index: pinetree.RaftIndex(index + 1), Quota: quota})
				compareResults(t, m, x, got, err, want, refusal)
			}
			next, _, err := table.Advance(d)
			if err != nil {
				t.Fatal(err)
			}
			table, stored = next, append(stored, d.Records...)
			whole = meta.Delta{Revision: d.Revision, Compacted: d.Compacted, Records: append(whole.Records, d.Records...)}
		}
		compareStates(t, m, table)
		loader := meta.Loader{}
		for _, r := range rapid.Permutation(stored).Draw(t, "order") {
			loader.Add(r)
		}
		loaded, _, err := loader.Table(meta.State{Revision: table.Revision(), Compacted: table.Compacted(), Index: pinetree.RaftIndex(steps)})
		if err != nil {
			t.Fatal(err)
		}
		same(t, "loaded", loaded, table)
		atOnce, _, err := start.Advance(whole)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "advanced at once", atOnce, table)
	})
}

func compareResults(t *rapid.T, m *model, x meta.Txn, got meta.Result, err error, want meta.Result, refusal string) {
	t.Helper()
	switch {
	case refusal != "":
		if !errors.Is(err, pinetree.ErrOverQuota) {
			t.Fatalf("%+v: %+v, %v; want it refused: %s", x, got, err, refusal)
		}
	case want.Repeated && errors.Is(err, pinetree.ErrTruncated):
		if want.Revision > m.compacted {
			t.Fatalf("%+v: %v, though what it read is there", x, err)
		}
	case err != nil || !equalResults(got, want):
		t.Fatalf("%+v:\n got %+v, %v\nwant %+v", x, got, err, want)
	}
}

func equalResults(a, b meta.Result) bool {
	return a.Succeeded == b.Succeeded && a.Revision == b.Revision && a.Repeated == b.Repeated &&
		slices.EqualFunc(a.Ops, b.Ops, func(a, b meta.OpResult) bool {
			return a.Deleted == b.Deleted && a.More == b.More && slices.EqualFunc(a.Items, b.Items, equalItems)
		})
}

func equalItems(a, b meta.Item) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.Created == b.Created && a.Modified == b.Modified && a.Version == b.Version
}

func compareStates(t *rapid.T, m *model, table *meta.Table) {
	t.Helper()
	if table.Revision() != pinetree.MetaRevision(len(m.states)-1) || table.Compacted() != m.compacted || table.Bytes() != m.bytes() {
		t.Fatalf("at %d, compacted %d, %d bytes; want %d, %d, %d", table.Revision(), table.Compacted(), table.Bytes(), len(m.states)-1, m.compacted, m.bytes())
	}
	for at := max(1, m.compacted); at <= table.Revision(); at++ {
		span, limit := drawSpan(t), rapid.IntRange(0, 3).Draw(t, "limit")
		read, err := table.Range(meta.RangeSpec{Span: span, Revision: at, Limit: limit})
		items, more := m.states[at].read(span, limit)
		if err != nil || read.Revision != at || read.More != more || !slices.EqualFunc(read.Items, items, equalItems) {
			t.Fatalf("%q at %d: %+v, %v; want %+v, more %t", span, at, read, err, items, more)
		}
	}
	if m.compacted > 1 {
		if _, err := table.Range(meta.RangeSpec{Span: meta.Span{Key: []byte("a")}, Revision: m.compacted - 1}); !errors.Is(err, pinetree.ErrTruncated) {
			t.Fatalf("a read below revision %d: %v, want ErrTruncated", m.compacted, err)
		}
	}
	var all []meta.Change
	limit := rapid.IntRange(1, 6).Draw(t, "changes")
	for after := m.compacted; after < table.Revision(); {
		list, through, err := table.Since(after, limit)
		if err != nil || through <= after || len(list) == 0 || list[len(list)-1].Modified != through {
			t.Fatalf("since %d: %d changes up to %d, %v", after, len(list), through, err)
		}
		if len(list) > limit && list[0].Modified != through {
			t.Fatalf("since %d: %d changes of several revisions, the limit is %d", after, len(list), limit)
		}
		all, after = append(all, list...), through
	}
	kept := slices.DeleteFunc(slices.Clone(m.changes), func(c meta.Change) bool { return c.Modified <= m.compacted })
	if !slices.EqualFunc(all, kept, func(a, b meta.Change) bool { return a.Deleted == b.Deleted && equalItems(a.Item, b.Item) }) {
		t.Fatalf("changes since %d: %+v, want %+v", m.compacted, all, kept)
	}
}

// same compares all that is stored of two tables.
func same(t *rapid.T, what string, got, want *meta.Table) {
	t.Helper()
	list := func(table *meta.Table) (list []string) {
		if err := table.Records(func(r meta.Record) error {
			if r.Change != nil {
				list = append(list, fmt.Sprintf("%+v", *r.Change))
			}
			if r.Memory != nil {
				list = append(list, fmt.Sprintf("%v", *r.Memory))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if got.Revision() != want.Revision() || got.Compacted() != want.Compacted() || got.Bytes() != want.Bytes() || !slices.Equal(list(got), list(want)) {
		t.Fatalf("the table that was %s is %v, want %v", what, list(got), list(want))
	}
	a, err := got.Digest(0)
	b, err2 := want.Digest(0)
	if err != nil || err2 != nil || a != b {
		t.Fatalf("digests %x, %v and %x, %v", a, err, b, err2)
	}
	fromA, _, err := got.Since(got.Compacted(), 1<<20)
	fromB, _, err2 := want.Since(want.Compacted(), 1<<20)
	if err != nil || err2 != nil || len(fromA) != len(fromB) {
		t.Fatalf("the table that was %s lists %d changes, %v; want %d, %v", what, len(fromA), err, len(fromB), err2)
	}
}
