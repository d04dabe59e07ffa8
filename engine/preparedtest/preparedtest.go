// Package preparedtest checks an engine that prepares writes: prepared beside the
// one before, they lead to what they lead to one after the other, and none is
// applied but on the one that it was prepared to follow. It knows the contract of
// engine.Preparer and nothing of a backend but how to open it.
package preparedtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/enginetest"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Run checks a backend whose engines are engine.Preparers.
func Run(t *testing.T, b enginetest.Backend) {
	t.Run("SameAsMemory", func(t *testing.T) { testAhead(t, b) })
	t.Run("OutOfOrderIsRefused", func(t *testing.T) { testOutOfOrder(t, b) })
}

// open opens the engine of group 1 of the store in a directory, which it makes if
// it is not there, and closes the store when the test ends or close is called.
func open(t *testing.T, b enginetest.Backend, dir string) (e engine.Engine, p engine.Preparer, close func()) {
	t.Helper()
	s, err := b.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	close = func() {
		if !closed {
			closed = true
			must(t, s.Close())
		}
	}
	t.Cleanup(close)
	must(t, s.Create(1, pinetree.Position{}))
	if e, err = s.Open(1); err != nil {
		t.Fatal(err)
	}
	p, ok := e.(engine.Preparer)
	if !ok {
		t.Fatalf("a %T prepares nothing", e)
	}
	return e, p, close
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is an engine under test, and memory, which applies one write after the
// other.
type pair struct {
	real    engine.Engine
	p       engine.Preparer
	model   engine.Engine
	waiting func() error // applies the write that is prepared
}

// finish applies what waits and, if it is to, flushes.
func (x *pair) finish(flush bool) error {
	if err := x.waiting(); err != nil || !flush {
		return err
	}
	_, err := x.real.Flush()
	return err
}

// next prepares a write before, while or after the one before is applied.
func (x *pair) next(t *testing.T, w engine.Write, random *rand.Rand) {
	t.Helper()
	flush := random.IntN(4) == 0
	applied := make(chan error, 1)
	order := random.IntN(3)
	switch order {
	case 0:
		applied <- x.finish(flush)
	case 1:
		go func() { applied <- x.finish(flush) }()
	}
	apply, err := x.p.Prepare(w)
	if order == 2 {
		applied <- x.finish(flush)
	}
	must(t, errors.Join(err, <-applied))
	x.wait(apply, w)
}

func (x *pair) wait(apply func() error, w engine.Write) {
	x.waiting = func() error {
		if err := apply(); err != nil {
			return err
		}
		return x.model.Apply(w)
	}
}

// testAhead compares with memory, and now and then lets what is prepared be lost
// with a restart, and prepares it anew.
func testAhead(t *testing.T, b enginetest.Backend) {
	for seed := uint64(71); seed <= 72; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			dir := t.TempDir()
			e, p, close := open(t, b, dir)
			x := &pair{real: e, p: p, model: enginetest.Memory(t), waiting: func() error { return nil }}
			next := b.Writes(t, seed)
			random := rand.New(rand.NewPCG(seed, 3))
			for round := range 250 {
				w := next()
				x.next(t, w, random)
				if round%25 == 0 {
					must(t, enginetest.Same(t, x.real, x.model, x.model.Position()))
				}
				if round%80 == 79 {
					_, err := x.real.Flush()
					must(t, err)
					close()
					x.real, x.p, close = open(t, b, dir)
					apply, err := x.p.Prepare(w)
					must(t, err)
					x.wait(apply, w)
				}
			}
			must(t, x.waiting())
			for range 20 {
				must(t, enginetest.Same(t, x.real, x.model, x.model.Position()))
			}
		})
	}
}

// bench is what the cases of testOutOfOrder are made of.
type bench struct {
	t *testing.T
	p engine.Preparer
	w engine.Write // the last one
}

// write makes the next write, of one record.
func (x *bench) write() engine.Write {
	x.t.Helper()
	at := x.w.Position.Volumes[1]
	b, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{Prev: at.LSN, LSN: at.LSN + 10, Payload: []byte("record")}})
	must(x.t, err)
	at.LSN, at.Format = b.LSN, pinetree.FormatOpaque
	x.w = engine.Write{Batches: []pinetree.Batch{b}, Position: pinetree.Position{
		Index: x.w.Position.Index + 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: at},
	}}
	return x.w
}

// prepare prepares the next write.
func (x *bench) prepare() (apply func() error) {
	x.t.Helper()
	apply, err := x.p.Prepare(x.write())
	must(x.t, err)
	return apply
}

func (x *bench) refused(err error) {
	x.t.Helper()
	if !errors.Is(err, pinetree.ErrCorrupt) {
		x.t.Fatalf("a write out of order: error %v, want %v", err, pinetree.ErrCorrupt)
	}
}

// testOutOfOrder leaves a prepared write out, applies one twice, and goes on after
// one that failed. All are refused, and nothing of them is there.
func testOutOfOrder(t *testing.T, b enginetest.Backend) {
	for _, c := range []struct {
		name string
		run  func(x *bench)
		want pinetree.RaftIndex
	}{
		{"later first", func(x *bench) {
			x.prepare()
			x.refused(x.prepare()())
		}, 1},
		{"twice", func(x *bench) {
			one := x.prepare()
			must(x.t, one())
			x.refused(one())
		}, 2},
		{"after one that failed", func(x *bench) {
			one, two := x.prepare(), x.prepare()
			x.refused(two())
			x.refused(one())
		}, 1},
		{"two wait", func(x *bench) {
			x.prepare()
			x.prepare()
			_, err := x.p.Prepare(x.write())
			x.refused(err)
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, p, _ := open(t, b, t.TempDir())
			x := &bench{t: t, p: p}
			must(t, e.Apply(x.write()))
			c.run(x)
			if got := e.Position().Index; got != c.want {
				t.Fatalf("the engine is at index %d, want %d", got, c.want)
			}
		})
	}
}
