package e2e

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// access is one read or write of a key, as its client saw it.
type access struct {
	window int // of the history, to which the key belongs
	key    string
	page   pinetree.PageNo // has the same value as the key
	write  bool
	value  string // written
}

// registers is the model: each key holds what was last written.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(access).key
			byKey[key] = append(byKey[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(access); in.write {
			return true, in.value
		}
		return output == state, state
	},
	DescribeOperation: func(input, output any) string {
		if in := input.(access); in.write {
			return fmt.Sprintf("put %s=%s", in.key, in.value)
		}
		return fmt.Sprintf("get %s=%v", input.(access).key, output)
	},
}

// history is what all clients saw, in windows of time. Each window has keys of its
// own, so that it can be checked, and forgotten, as soon as nobody is at its keys
// any more.
type history struct {
	began time.Time
	wrote journal

	mu      sync.Mutex
	window  int
	list    map[int][]porcupine.Operation // by window
	pending map[int]int                   // operations begun and not ended, by window
	level   map[pinetree.ReadLevel]int    // how many reads were answered at which
	count   int
}

func newHistory() *history {
	return &history{
		began: time.Now(), list: map[int][]porcupine.Operation{}, pending: map[int]int{}, level: map[pinetree.ReadLevel]int{},
	}
}

func (h *history) seed() uint64 { return uint64(h.began.UnixNano()) }

func (h *history) now() int64 { return int64(time.Since(h.began)) }

// keys is how many a window has.
const keys = 4

// begin starts an operation on one of the keys of the window.
func (h *history) begin(random *rand.Rand) access {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending[h.window]++
	k := random.IntN(keys)
	return access{window: h.window, key: fmt.Sprintf("w%d-k%d", h.window, k), page: pinetree.PageNo(h.window*keys + k)}
}

// end ends an operation; nil for one that was never seen.
func (h *history) end(in access, o *porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending[in.window]--
	if o != nil {
		h.list[in.window] = append(h.list[in.window], *o)
		h.count++
	}
}

func (h *history) answered(level pinetree.ReadLevel) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.level[level]++
}

// next begins a new window, and checks those before it at whose keys nobody is any
// more; it returns how many are left.
func (h *history) next(t *testing.T) int {
	t.Helper()
	h.mu.Lock()
	h.window++
	over := map[int][]porcupine.Operation{}
	for w, list := range h.list {
		if w < h.window && h.pending[w] == 0 {
			over[w] = list
			delete(h.list, w)
			delete(h.pending, w)
		}
	}
	left := len(h.list)
	h.mu.Unlock()
	for w, list := range over {
		if result := porcupine.CheckOperationsTimeout(registers, list, time.Minute); result != porcupine.Ok {
			t.Errorf("window %d with %d operations is not linearizable: %v", w, len(list), result)
		}
	}
	return left
}

// finish checks what is left, once everybody has stopped.
func (h *history) finish(t *testing.T) {
	t.Helper()
	if left := h.next(t); left > 0 {
		t.Errorf("%d windows were never over", left)
	}
}

// write puts counted values under random keys and into their pages, one after the other, until ctx
// ends. A write without an answer may still happen at any later time.
func (h *history) write(ctx context.Context, w *ship.Writer) error {
	random := rand.New(rand.NewPCG(h.seed(), 0))
	tail := w.Progress().Tail
	for ctx.Err() == nil {
		in := h.begin(random)
		in.write, in.value = true, fmt.Sprint(uint64(tail)+1)
		redo, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{
			{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte(in.key), Value: []byte(in.value)}}},
			{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: uint64(in.page), Image: []byte(in.value)}}},
		}})
		if err != nil {
			return err
		}
		h.wrote.append(tail+1, in)
		o := porcupine.Operation{ClientId: 0, Input: in, Call: h.now(), Return: math.MaxInt64}
		err = w.Append(ctx, pinetree.Record{Prev: tail, LSN: tail + 1, Payload: redo})
		if err == nil {
			tail++
			err = w.WaitDurable(ctx, tail)
		}
		if err == nil {
			o.Return = h.now()
			h.wrote.ack(tail, o.Return)
		}
		h.end(in, &o)
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}
