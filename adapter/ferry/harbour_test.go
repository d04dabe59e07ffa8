package ferry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harbour is where calls are made as a test says, and counted.
type harbour struct {
	*Ferry[string, int, int64]
	ctx   context.Context
	close context.CancelFunc
	work  sync.WaitGroup
	calls chan call // of those who hold them, when not nil
	// state is what every read reads.
	state           atomic.Int64
	alone, together atomic.Int64
	fail            error // of calls for several reads
	short           int   // by how many these answer too few
}

// call is one that is held until the test lets it go on.
type call struct {
	reads []int
	ctx   context.Context
	open  chan struct{}
}

var errNotThere = errors.New("not there")

func newHarbour(t *testing.T, rules Gathering) *harbour {
	h := &harbour{}
	h.ctx, h.close = context.WithCancel(context.Background())
	t.Cleanup(func() {
		h.close()
		h.work.Wait()
		for kind, q := range h.lines {
			if !q.idle() {
				t.Errorf("at the end %d calls of kind %q are under way, and %d reads wait", q.underWay, kind, len(q.line.waiting))
			}
		}
	})
	h.Ferry = New(rules, Ways[string, int, int64]{
		Alone: func(ctx context.Context, _ string, what int) (int64, error) {
			h.alone.Add(1)
			if err := h.hold(ctx, []int{what}); err != nil {
				return 0, err
			}
			return h.read(what, h.state.Load())
		},
		Together: func(ctx context.Context, _ string, what []int) ([]Outcome[int64], error) {
			h.together.Add(1)
			state := h.state.Load()
			if err := h.hold(ctx, what); err != nil || h.fail != nil {
				return nil, errors.Join(err, h.fail)
			}
			all := make([]Outcome[int64], len(what)-h.short)
			for i := range all {
				all[i].Answer, all[i].Err = h.read(what[i], state)
			}
			return all, nil
		},
		Begin: func(f func(context.Context)) bool {
			if h.ctx.Err() != nil {
				return false
			}
			h.work.Go(func() { f(h.ctx) })
			return true
		},
	})
	h.patience = time.Hour // a machine that is slow is not to send off what the test gathers
	return h
}

func (h *harbour) read(what int, state int64) (int64, error) {
	if what < 0 {
		return 0, fmt.Errorf("%w: %d", errNotThere, what)
	}
	return state*1000 + int64(what), nil
}

func (h *harbour) hold(ctx context.Context, what []int) error {
	if h.calls == nil {
		return nil
	}
	c := call{what, ctx, make(chan struct{})}
	select {
	case h.calls <- c:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-c.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// result is what a read came to.
type result struct {
	what   int
	answer int64
	err    error
}

// begin starts reads one after the other, each of which waits or is in a call.
func (h *harbour) begin(t *testing.T, ctx context.Context, what ...int) chan result {
	t.Helper()
	ended := make(chan result, len(what))
	for _, one := range what {
		before := h.waiting()
		go func() {
			answer, err := h.Read(ctx, "k", one)
			ended <- result{one, answer, err}
		}()
		h.await(t, func() bool { return h.waiting() > before })
	}
	return ended
}

func (h *harbour) waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if q := h.lines["k"]; q != nil {
		return len(q.line.waiting)
	}
	return 0
}

func (h *harbour) await(t *testing.T, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !holds(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(limit) {
			t.Fatal("not within ten seconds")
		}
	}
}

// next is the next call that is made.
func (h *harbour) next(t *testing.T) call {
	t.Helper()
	return get(t, h.calls)
}

func get[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(10 * time.Second):
		t.Fatal("nothing within ten seconds")
		panic("unreachable")
	}
}

// busy makes one read that is under way, alone, so that others wait.
func (h *harbour) busy(t *testing.T) (call, chan result) {
	t.Helper()
	h.calls = make(chan call)
	ended := make(chan result, 1)
	go func() {
		answer, err := h.Read(context.Background(), "k", 0)
		ended <- result{0, answer, err}
	}()
	return h.next(t), ended
}
