package meta_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/meta"
)

// growing is a table to which transactions are applied.
type growing struct {
	t *testing.T
	*meta.Table
	index pinetree.RaftIndex
}

func grow(t *testing.T) *growing { return &growing{t: t, Table: meta.Empty()} }

func (g *growing) do(x meta.Txn) (meta.Result, error) {
	g.t.Helper()
	g.index++
	delta, result, err := meta.Evaluate(g.Table, meta.Proposal{Txn: x, Index: g.index})
	next, _, wrong := g.Advance(delta)
	if wrong != nil {
		g.t.Fatal(wrong)
	}
	g.Table = next
	return result, err
}

func put(key string) meta.Op {
	return meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: []byte(key)}, Value: []byte("value")}
}

func TestTheLastIDsAreRemembered(t *testing.T) {
	g := grow(t)
	x := func(n int) meta.Txn { return meta.Txn{Then: []meta.Op{put("k")}, ID: fmt.Appendf(nil, "id %d", n)} }
	for n := range meta.MaxMemories + 1 {
		if result, err := g.do(x(n)); err != nil || result.Repeated || result.Revision != pinetree.MetaRevision(n+1) {
			t.Fatalf("transaction %d: %+v, %v", n, result, err)
		}
	}
	for _, n := range []int{1, meta.MaxMemories / 2, meta.MaxMemories} {
		if result, err := g.do(x(n)); err != nil || !result.Repeated || result.Revision != pinetree.MetaRevision(n+1) {
			t.Fatalf("transaction %d again: %+v, %v; want revision %d as before", n, result, err, n+1)
		}
	}
	if result, err := g.do(x(0)); err != nil || result.Repeated {
		t.Fatalf("the oldest one again: %+v, %v; want it forgotten", result, err)
	}
	if _, err := g.do(meta.Txn{Then: []meta.Op{put("other")}, ID: x(5).ID}); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Fatalf("another transaction of a known id: %v, want ErrBadBatch", err)
	}
}

func TestALongCompactionIsDoneInPieces(t *testing.T) {
	g := grow(t)
	for range 10 { // 30 changes
		if _, err := g.do(meta.Txn{Then: []meta.Op{put("a"), put("b"), put("c")}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		wish, want pinetree.MetaRevision
		limit      int
	}{{10, 3, 9}, {10, 3, 11}, {10, 10, 30}, {10, 1, 1}, {2, 2, 30}, {99, 10, 100}, {0, 0, 5}} {
		if got := g.Reachable(c.wish, c.limit); got != c.want {
			t.Errorf("to revision %d with at most %d changes: %d, want %d", c.wish, c.limit, got, c.want)
		}
	}
}

func TestATransactionChangesABoundedNumberOfKeys(t *testing.T) {
	g := grow(t)
	for n := 0; n <= meta.MaxTxnChanges; n += meta.MaxOps {
		x := meta.Txn{}
		for k := range meta.MaxOps {
			x.Then = append(x.Then, put(fmt.Sprintf("%06d", n+k)))
		}
		if _, err := g.do(x); err != nil {
			t.Fatal(err)
		}
	}
	before := g.Revision()
	all := meta.Txn{Then: []meta.Op{{Kind: meta.OpDelete, Span: meta.Span{Key: []byte("0"), End: []byte{0}}}}, ID: []byte("id")}
	for range 2 { // the second time it is remembered
		if _, err := g.do(all); !errors.Is(err, pinetree.ErrBadBatch) || g.Revision() != before {
			t.Fatalf("%v at revision %d, want ErrBadBatch at %d", err, g.Revision(), before)
		}
	}
	half := meta.Txn{Then: []meta.Op{{Kind: meta.OpDelete, Span: meta.Span{Key: []byte("0"), End: fmt.Appendf(nil, "%06d", meta.MaxTxnChanges)}}}}
	if result, err := g.do(half); err != nil || result.Ops[0].Deleted != meta.MaxTxnChanges {
		t.Fatalf("%+v, %v; want %d keys deleted", result, err, meta.MaxTxnChanges)
	}
}

func TestWhatARepeatedTransactionReadMayBeCompacted(t *testing.T) {
	g := grow(t)
	reads := meta.Txn{Then: []meta.Op{put("k"), {Kind: meta.OpGet, Span: meta.Span{Key: []byte("k")}}}, ID: []byte("reads")}
	writes := meta.Txn{Then: []meta.Op{put("k"), {Kind: meta.OpDelete, Span: meta.Span{Key: []byte("k")}}}, ID: []byte("writes")}
	for _, x := range []meta.Txn{{Then: []meta.Op{put("k")}}, reads, writes, {Then: []meta.Op{put("k")}}} {
		if _, err := g.do(x); err != nil {
			t.Fatal(err)
		}
	}
	next, _, err := g.Advance(meta.Delta{Revision: 4, Compacted: 4})
	if err != nil {
		t.Fatal(err)
	}
	g.Table = next
	if _, err := g.do(reads); !errors.Is(err, pinetree.ErrTruncated) || !strings.Contains(err.Error(), "carried out at revision 2") {
		t.Fatalf("one that read: %v, want ErrTruncated and the revision", err)
	}
	if result, err := g.do(writes); err != nil || !result.Repeated || result.Revision != 3 || result.Ops[1].Deleted != 1 {
		t.Fatalf("one that wrote: %+v, %v", result, err)
	}
}

func TestGetsOfATransactionAreBounded(t *testing.T) {
	g := grow(t)
	for n := range 3 {
		op := put(fmt.Sprint(n))
		op.Value = make([]byte, meta.MaxValueBytes)
		if _, err := g.do(meta.Txn{Then: []meta.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	get := meta.Op{Kind: meta.OpGet, Span: meta.Span{Key: []byte("0"), End: []byte{0}}}
	result, err := g.do(meta.Txn{Then: []meta.Op{get, get}})
	if err != nil || len(result.Ops[0].Items) != 1 || !result.Ops[0].More || len(result.Ops[1].Items) != 1 || !result.Ops[1].More {
		t.Fatalf("%d and %d items, %v; want one each, and more", len(result.Ops[0].Items), len(result.Ops[1].Items), err)
	}
}

func TestCheckRefusesWhatIsBeyondALimit(t *testing.T) {
	long := make([]byte, meta.MaxKeyBytes+1)
	ops := func(op meta.Op) meta.Txn { return meta.Txn{Otherwise: []meta.Op{op}} }
	span := func(key, end []byte) meta.Span { return meta.Span{Key: key, End: end} }
	for name, x := range map[string]meta.Txn{
		"a long key":       ops(meta.Op{Kind: meta.OpPut, Span: span(long, nil)}),
		"a long end":       ops(meta.Op{Kind: meta.OpGet, Span: span([]byte("k"), long)}),
		"no key":           ops(meta.Op{Kind: meta.OpPut}),
		"a put of a range": ops(meta.Op{Kind: meta.OpPut, Span: span([]byte("a"), []byte("b"))}),
		"a large value":    ops(meta.Op{Kind: meta.OpPut, Span: span([]byte("a"), nil), Value: make([]byte, meta.MaxValueBytes+1)}),
		"many bytes":       {Then: []meta.Op{{Kind: meta.OpPut, Span: span([]byte("a"), nil), Value: make([]byte, meta.MaxValueBytes)}, {Kind: meta.OpPut, Span: span([]byte("b"), nil), Value: make([]byte, meta.MaxValueBytes/2)}}},
		"many ops":         {Then: make([]meta.Op, meta.MaxOps+1)},
		"many compares":    {Compares: make([]meta.Compare, meta.MaxOps+1)},
		"a long id":        {ID: make([]byte, meta.MaxIDBytes+1)},
		"no such op":       ops(meta.Op{Kind: 4, Span: span([]byte("a"), nil)}),
		"no such target":   {Compares: []meta.Compare{{Key: []byte("a"), Target: 4}}},
		"no such relation": {Compares: []meta.Compare{{Key: []byte("a"), Relation: 4}}},
		"a negative limit": ops(meta.Op{Kind: meta.OpGet, Span: span([]byte("a"), nil), Limit: -1}),
	} {
		if err := x.Check(); !errors.Is(err, pinetree.ErrBadBatch) {
			t.Errorf("%s: %v, want ErrBadBatch", name, err)
		}
	}
	good := meta.Txn{
		Compares: []meta.Compare{{Key: []byte("a"), Target: meta.TargetModified, Relation: meta.Greater}},
		Then:     []meta.Op{put("a"), {Kind: meta.OpDelete, Span: span(nil, []byte{0})}}, ID: []byte("id"),
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}
