package e2e

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/metaclient"
	"github.com/pinetree-db/pinetree/meta"
)

// cells are the keys of one window of metadata; each holds a value, or nothing.
type cells [keys]string

// metaAccess is one operation on the cells of a window.
type metaAccess struct {
	window int
	// A swap puts value into two cells if they hold what was expected; without swap
	// all cells are read, or one of them.
	swap  bool
	a, b  int
	was   [2]string
	value string
	all   bool
}

// metaSeen is what its client saw.
type metaSeen struct {
	unknown   bool
	succeeded bool
	cells     cells // of a read of all; of others those that were read
}

// metaModel is the cells of one window, changed in one step each.
var metaModel = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation { return [][]porcupine.Operation{history} },
	Init:      func() []any { return []any{cells{}} },
	Step: func(state, input, output any) []any {
		at, in, out := state.(cells), input.(metaAccess), output.(metaSeen)
		next, legal := at.after(in, out)
		switch {
		case out.unknown && next != at:
			return []any{at, next} // it may have been carried out or not
		case out.unknown:
			return []any{at}
		case !legal:
			return nil
		}
		return []any{next}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

// after tells what an operation leads to, and whether that is what its client saw.
func (at cells) after(in metaAccess, out metaSeen) (cells, bool) {
	switch {
	case in.all:
		return at, at == out.cells
	case !in.swap:
		return at, at[in.a] == out.cells[in.a]
	case at[in.a] != in.was[0] || at[in.b] != in.was[1]:
		return at, !out.succeeded && at[in.a] == out.cells[in.a] && at[in.b] == out.cells[in.b]
	}
	next := at
	next[in.a], next[in.b] = in.value, in.value
	return next, out.succeeded
}

// metaHistory is what all clients of metadata saw, in windows as in history.
type metaHistory struct {
	began time.Time

	mu        sync.Mutex
	window    int
	list      map[int][]porcupine.Operation
	written   map[pinetree.MetaRevision]string // acknowledged swaps, by revision
	swaps     int
	levels    map[pinetree.ReadLevel]int
	unknown   int
	succeeded int
}

func newMetaHistory() *metaHistory {
	return &metaHistory{began: time.Now(), list: map[int][]porcupine.Operation{}, written: map[pinetree.MetaRevision]string{}, levels: map[pinetree.ReadLevel]int{}}
}

func (h *metaHistory) now() int64 { return int64(time.Since(h.began)) }

func (h *metaHistory) current() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.window
}

func (h *metaHistory) add(client int, call int64, in metaAccess, out metaSeen) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: h.now()}
	if out.unknown {
		o.Return = math.MaxInt64
		h.unknown++
	}
	if out.succeeded {
		h.succeeded++
	}
	h.list[in.window] = append(h.list[in.window], o)
}

// check checks all windows.
func (h *metaHistory) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for w, list := range h.list {
		if result := porcupine.CheckOperationsTimeout(metaModel.ToModel(), list, time.Minute); result != porcupine.Ok {
			t.Errorf("window %d with %d operations on metadata is not linearizable: %v", w, len(list), result)
		}
	}
}

func cellKey(window, n int) []byte { return fmt.Appendf(nil, "cells/%06d/%d", window, n) }

func windowSpan(window int) meta.Span {
	return metaclient.Prefix(fmt.Appendf(nil, "cells/%06d/", window))
}

// swap is a transaction that puts one value into two cells if they are as expected,
// and reads them otherwise.
func (in metaAccess) txn() meta.Txn {
	var txn meta.Txn
	for n, cell := range []int{in.a, in.b} {
		key := cellKey(in.window, cell)
		c := meta.Compare{Key: key, Value: []byte(in.was[n])}
		if in.was[n] == "" {
			c = meta.Compare{Key: key, Target: meta.TargetVersion}
		}
		txn.Compares = append(txn.Compares, c)
		txn.Then = append(txn.Then, meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: key}, Value: []byte(in.value)})
		txn.Otherwise = append(txn.Otherwise, meta.Op{Kind: meta.OpGet, Span: meta.Span{Key: key}})
	}
	return txn
}

// swaps swaps until ctx ends; what it expects is what it saw last.
func (h *metaHistory) swap(ctx context.Context, id int, client *metaclient.Client) {
	random := rand.New(rand.NewPCG(uint64(h.began.UnixNano()), uint64(id)))
	var known cells
	for at := -1; ctx.Err() == nil; {
		if now := h.current(); now != at {
			at, known = now, cells{}
		}
		pair := random.Perm(keys)[:2]
		slices.Sort(pair)
		h.mu.Lock()
		h.swaps++
		in := metaAccess{window: at, swap: true, a: pair[0], b: pair[1], was: [2]string{known[pair[0]], known[pair[1]]}, value: fmt.Sprint(h.swaps)}
		h.mu.Unlock()
		call := h.now()
		r, err := client.Txn(ctx, in.txn())
		out := metaSeen{unknown: err != nil, succeeded: err == nil && r.Succeeded}
		switch {
		case out.succeeded:
			known[in.a], known[in.b] = in.value, in.value
			h.mu.Lock()
			h.written[r.Revision] = in.value
			h.mu.Unlock()
		case err == nil:
			for n, cell := range pair {
				known[cell] = ""
				if items := r.Ops[n].Items; len(items) > 0 {
					known[cell] = string(items[0].Value)
				}
				out.cells[cell] = known[cell]
			}
		}
		h.add(id, call, in, out)
		time.Sleep(time.Duration(random.IntN(8000)) * time.Microsecond)
	}
}

// read reads a cell or all of them until ctx ends.
func (h *metaHistory) read(ctx context.Context, id int, client *metaclient.Client) {
	random := rand.New(rand.NewPCG(uint64(h.began.UnixNano()), uint64(id)))
	for ctx.Err() == nil {
		in := metaAccess{window: h.current(), a: random.IntN(keys), all: random.IntN(2) == 0}
		span := windowSpan(in.window)
		if !in.all {
			span = meta.Span{Key: cellKey(in.window, in.a)}
		}
		call := h.now()
		limit, cancel := context.WithTimeout(ctx, time.Second)
		r, err := client.Range(limit, meta.RangeSpec{Span: span})
		cancel()
		if err == nil { // what fails was never seen
			var out metaSeen
			for _, item := range r.Items {
				out.cells[item.Key[len(item.Key)-1]-'0'] = string(item.Value)
			}
			h.add(id, call, in, out)
			h.mu.Lock()
			h.levels[r.Level]++
			h.mu.Unlock()
		}
		time.Sleep(time.Duration(random.IntN(8000)) * time.Microsecond)
	}
}
