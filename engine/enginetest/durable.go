package enginetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/metatest"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// testReopen does what a node does when it starts: it asks for the position
// that survived, and replays the log from there in writes cut elsewhere. The
// first half flushes; whatever the backend kept of the rest is applied again.
func testReopen(t *testing.T, b Backend) {
	x := newBench(t, b)
	real, model := x.create(1), memory(t)
	w := b.workload(t, 11)
	var history []engine.Write
	for i := range 200 {
		history = append(history, w.next())
		apply(t, real, history[i])
		if i == 100 {
			flush(t, real)
		}
	}
	for round := range 3 {
		x.reopen()
		real = x.engine(1)
		at := real.Position()
		if at.Index != real.Flushed().Index || at.Index < 101 {
			t.Fatalf("round %d: after the reopen the position is %d and flushed %d, at least 101 was flushed", round, at.Index, real.Flushed().Index)
		}
		history = append(history, w.next(), w.next(), w.next())
		rest := history[at.Index:]
		for len(rest) > 0 {
			n := min(len(rest), 1+round*3)
			apply(t, real, merge(rest[:n]))
			rest = rest[n:]
		}
		if round == 1 {
			flush(t, real)
		}
	}
	for _, write := range history {
		apply(t, model, write)
	}
	random := rand.New(rand.NewPCG(11, 2))
	compareDigests(t, random, real, model)
	compareReads(t, random, real, model, 500)
}

// merge makes one write of several, as a group does under load.
func merge(writes []engine.Write) engine.Write {
	var one engine.Write
	for _, w := range writes {
		one.Position = w.Position
		one.Batches = append(one.Batches, w.Batches...)
		one.Meta = metatest.Merge(one.Meta, w.Meta)
	}
	return one
}

// testBig has batches up to the limit, several in one write, with pages and
// values as large as they can be.
func testBig(t *testing.T, b Backend) {
	x := newBench(t, b)
	e := x.create(1)
	w := newWriter(t)
	w.create(1, pinetree.FormatOpaque, 0)
	w.create(2, pinetree.FormatRedo, 0)
	fill := func(n byte, size int) []byte { return bytes.Repeat([]byte{n, 2, 3, 5, 7, n, 11}, size/7) }
	const most = storepb.MaxBatchBytes - 256
	w.batch(1, record{1, fill(1, most)})
	w.batch(2, redo(1, put("big", string(fill(2, most)))))
	w.batch(2, redo(2, image(1, string(fill(3, most)))), redo(3, patch(span{1, 1 << 20}, "patched")))
	w.batch(1, record{2, fill(4, 1<<20)}, record{3, fill(5, 3<<20)})
	apply(t, e, w.write())
	w.batch(2, redo(4, put("big", string(fill(6, 1<<20))), put("small", "s")))
	apply(t, e, w.write())
	check := func(e engine.Engine) {
		t.Helper()
		wantLog(t, volume(t, e, 1), 0, 1, 3)
		wantLog(t, volume(t, e, 2), 1, 3, 4)
		page := fill(3, most)
		copy(page[1<<20:], "patched")
		for _, c := range []struct {
			at   pinetree.LSN
			want []byte
		}{{2, fill(3, most)}, {3, page}, {0, page}} {
			if read, err := volume(t, e, 2).Page(1, c.at); err != nil || !bytes.Equal(read.Page, c.want) {
				t.Fatalf("page at %s: %d bytes, %v, want %d others", c.at, len(read.Page), err, len(c.want))
			}
		}
		for _, c := range []struct {
			at   pinetree.LSN
			want []byte
		}{{3, fill(2, most)}, {0, fill(6, 1<<20)}} {
			if read, err := volume(t, e, 2).Get([]byte("big"), c.at); err != nil || !bytes.Equal(read.Value, c.want) {
				t.Fatalf("key at %s: %d bytes, %v, want %d others", c.at, len(read.Value), err, len(c.want))
			}
		}
		read, err := volume(t, e, 2).Range(engine.RangeSpec{Limit: 5, At: 3})
		if err != nil || len(read.Items) != 1 || !bytes.Equal(read.Items[0].Value, fill(2, most)) {
			t.Fatalf("range: %d items, %v, want the big value", len(read.Items), err)
		}
	}
	check(e)
	flush(t, e)
	x.reopen()
	check(x.engine(1))
}

// testPatchChains has thousands of patches of a page after its only image, in
// small writes and in large ones.
func testPatchChains(t *testing.T, b Backend) {
	const page, size, patches = 5, 256, 3000
	x := newBench(t, b)
	e := x.create(1)
	w := newWriter(t)
	w.create(1, pinetree.FormatRedo, 0)
	want := make([]byte, size)
	w.batch(1, redo(1, image(page, string(want))))
	random := rand.New(rand.NewPCG(3, 3))
	states := [][]byte{nil, slices.Clone(want)} // by LSN
	var records []record
	for lsn := pinetree.LSN(2); lsn <= patches; lsn++ {
		at := random.IntN(size - 4)
		data := []byte{byte(lsn), byte(lsn >> 8), byte(at)}
		copy(want[at:], data)
		states = append(states, slices.Clone(want))
		records = append(records, redo(lsn, patch(span{page, uint32(at)}, string(data)), patch(span{page + 1, 0}, "other")))
		if random.IntN(10) == 0 || lsn > 2000 && random.IntN(200) == 0 || lsn == patches {
			w.batch(1, records...)
			records = nil
			if random.IntN(2) == 0 || lsn == patches {
				apply(t, e, w.write())
			}
		}
	}
	r := volume(t, e, 1)
	for range 300 {
		at := pinetree.LSN(1 + random.IntN(patches))
		wantPage(t, r, page, engine.PageRead{At: at, Page: states[at], PageLSN: at}, at)
	}
	wantPage(t, r, page, engine.PageRead{At: patches, Page: want, PageLSN: patches}, 0)
}

// testReaders reads while writes go on: each record puts the same number into
// two keys and a page, and each write has several records, so a read that saw
// a part of a write would show it.
func testReaders(t *testing.T, b Backend) {
	const writes, perWrite, readers = 150, 4, 3
	x := newBench(t, b)
	e := x.create(1)
	w := newWriter(t)
	w.create(1, pinetree.FormatRedo, 0)
	apply(t, e, w.write())
	r := volume(t, e, 1)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for range readers {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := readWhole(r, perWrite); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range writes {
		for k := range perWrite {
			n := pinetree.LSN(i*perWrite + k + 1)
			text := fmt.Sprint(uint64(n))
			w.batch(1, redo(n, put("a", text), put("b", text), image(1, text)))
		}
		apply(t, e, w.write())
	}
	close(stop)
	wait.Wait()
}

// readWhole checks that what is read is the state at the end of a write.
func readWhole(r engine.Reader, perWrite uint64) error {
	before := r.Position().LSN
	read, err := r.Range(engine.RangeSpec{Limit: 5})
	if err != nil {
		return err
	}
	if read.At < before || uint64(read.At)%perWrite != 0 {
		return fmt.Errorf("read at %s, which is below %s or no end of a write", read.At, before)
	}
	want := fmt.Sprint(uint64(read.At))
	if read.At == 0 {
		return nil
	}
	if len(read.Items) != 2 || string(read.Items[0].Value) != want || string(read.Items[1].Value) != want {
		return fmt.Errorf("range at %s: %q, want %s twice", read.At, read.Items, want)
	}
	page, err := r.Page(1, read.At)
	if err != nil || string(page.Page) != want {
		return fmt.Errorf("page at %s: %q, %w, want %s", read.At, page.Page, err, want)
	}
	var tail pinetree.LSN
	err = r.Log(read.At-1, func(b pinetree.Batch) error { tail = b.LSN; return nil })
	if err != nil || tail < read.At || uint64(tail)%perWrite != 0 {
		return fmt.Errorf("log ends at %s, %w, want the end of a write at or above %s", tail, err, read.At)
	}
	return nil
}

// testManyGroups applies to many groups side by side.
func testManyGroups(t *testing.T, b Backend) {
	const groups, writes = 16, 20
	x := newBench(t, b)
	var wait sync.WaitGroup
	models := make([]engine.Engine, groups)
	for i := range groups {
		e := x.create(pinetree.GroupID(i + 1))
		models[i] = memory(t)
		wait.Go(func() {
			w := b.workload(t, uint64(100+i))
			for range writes {
				write := w.next()
				if err := e.Apply(write); err != nil {
					t.Error(err)
					return
				}
				if err := models[i].Apply(write); err != nil {
					t.Error(err)
					return
				}
			}
			if _, err := e.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	x.reopen()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range groups {
		compareDigests(t, random, x.engine(pinetree.GroupID(i+1)), models[i])
	}
}
