package enginetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// trimmedKeys and trimmedPages are few, so that most versions lose their use soon.
const trimmedKeys, trimmedPages = 7, 5

// trimmedRecord is the n-th record of a history of which every state is known: it
// sets a key, or deletes it, and changes a page.
func trimmedRecord(n uint64, format pinetree.Format) record {
	text := fmt.Sprintf("%08d", n)
	if format == pinetree.FormatOpaque {
		return record{pinetree.LSN(n), []byte(text)}
	}
	key := put(fmt.Sprint(n%trimmedKeys), text)
	if n%5 == 0 {
		key = del(fmt.Sprint(n % trimmedKeys))
	}
	page := patch(span{n % trimmedPages, 0}, text)
	if n%11 == 0 {
		page = image(n%trimmedPages, text)
	}
	return redo(pinetree.LSN(n), key, page)
}

// checkTrimmed reads as of an LSN and compares. A read that says that the state is
// gone must be right about it.
func checkTrimmed(r engine.Reader, at uint64, format pinetree.Format) error {
	asOf := pinetree.LSN(at)
	refused := func(what string, err error) error {
		if gone, ok := errors.AsType[*pinetree.TruncatedError](err); ok && gone.First > asOf && r.Position().Truncated >= gone.First {
			return nil
		}
		return fmt.Errorf("%s at %s, truncated at %s: %w", what, asOf, r.Position().Truncated, err)
	}
	tail := asOf
	err := r.Log(asOf, func(b pinetree.Batch) error {
		if b.Prev > tail || b.LSN <= tail {
			return fmt.Errorf("(%s, %s] after %s", b.Prev, b.LSN, tail)
		}
		tail = b.LSN
		return nil
	})
	if err != nil {
		return refused("log", err)
	}
	if format == pinetree.FormatOpaque || at < trimmedKeys*trimmedPages {
		return nil
	}
	for n := at; n > at-trimmedKeys; n-- {
		want := fmt.Sprintf("%08d", n)
		read, err := r.Get([]byte(fmt.Sprint(n%trimmedKeys)), asOf)
		switch {
		case n%5 == 0 && !errors.Is(err, pinetree.ErrNotFound), n%5 != 0 && err != nil:
			return refused("key "+fmt.Sprint(n%trimmedKeys), err)
		case err == nil && string(read.Value) != want:
			return fmt.Errorf("key %d at %s: %q, want %q", n%trimmedKeys, asOf, read.Value, want)
		}
	}
	for n := at; n > at-trimmedPages; n-- {
		want := fmt.Sprintf("%08d", n)
		if read, err := r.Page(pinetree.PageNo(n%trimmedPages), asOf); err != nil {
			return refused("page "+fmt.Sprint(n%trimmedPages), err)
		} else if string(read.Page) != want || read.PageLSN != pinetree.LSN(n) {
			return fmt.Errorf("page %d at %s: %q of %s, want %q", n%trimmedPages, asOf, read.Page, read.PageLSN, want)
		}
	}
	return nil
}

// testTrimmedWhileRead reads old and new states while a volume grows and is truncated
// behind itself: an answer is right, or it is that the state is gone, which the newest
// never is.
func testTrimmedWhileRead(t *testing.T, b Backend) {
	const writes, perWrite, readers, kept = 60, 16, 2, 120
	format := pinetree.FormatRedo
	if b.OpaqueOnly {
		format = pinetree.FormatOpaque
	}
	x := newBench(t, b)
	e := x.create(1)
	w := newWriter(t)
	w.create(1, format, 0)
	apply(t, e, w.write())
	r := volume(t, e, 1)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for reader := range readers {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(uint64(reader), 5))
			for {
				select {
				case <-stop:
					return
				default:
				}
				at := r.Position()
				lsn := uint64(at.Truncated) + random.Uint64N(uint64(at.LSN-at.Truncated)+1)
				if err := checkTrimmed(r, lsn, format); err != nil {
					t.Error(err)
					return
				}
				if _, err := r.Range(engine.RangeSpec{Limit: trimmedKeys}); err != nil {
					t.Errorf("the newest keys: %v", err)
					return
				}
			}
		})
	}
	n := uint64(0)
	for range writes {
		for range perWrite {
			n++
			w.batch(1, trimmedRecord(n, format))
		}
		if v := w.position.Volumes[1]; n > kept {
			v.Truncated = pinetree.LSN(n - kept)
			w.position.Volumes[1] = v
		}
		apply(t, e, w.write())
		flush(t, e)
	}
	close(stop)
	wait.Wait()
	x.reopen()
	r = volume(t, x.engine(1), 1)
	for at := n - kept; at <= n; at++ {
		if err := checkTrimmed(r, at, format); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkTrimmed(r, n-kept-1, format); err != nil {
		t.Fatal(err)
	}
}
