package model

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/badgerengine"
	"github.com/pinetree-db/pinetree/engine/pebbleengine"
)

// sizeVariable is the environment variable that, when it is full, asks for the
// full size.
const sizeVariable = "PINETREE_MODEL"

var (
	quick = scale{ops: 8_000, pages: 400, keys: 150, flushes: 20, restarts: 8, moves: 3, truncations: 10}
	full  = scale{ops: 500_000, pages: 20_000, keys: 5_000, flushes: 400, restarts: 60, moves: 8, truncations: 40}
)

// backend opens a store in a directory.
type backend struct {
	name string
	open func(dir string) (engine.Store, error)
}

var (
	quiet  = slog.New(slog.DiscardHandler)
	badger = backend{"badger", func(dir string) (engine.Store, error) {
		return badgerengine.Open(badgerengine.Options{Dir: dir, MemTableBytes: 8 << 20, Logger: quiet})
	}}
	pebble = backend{"pebble", func(dir string) (engine.Store, error) {
		return pebbleengine.Open(pebbleengine.Options{Dir: dir, MemTableBytes: 4 << 20, Logger: quiet})
	}}
)

// replica is a group in a store of its own. Its methods end the test on error.
type replica struct {
	t       *testing.T
	backend backend
	base    string
	stores  int // made so far
	store   engine.Store
	engine  engine.Engine
	// unflushed may be lost by the next restart.
	unflushed []engine.Write
}

const group = pinetree.GroupID(3)

func newReplica(t *testing.T, b backend) *replica {
	r := &replica{t: t, backend: b, base: t.TempDir()}
	r.store = r.openStore()
	r.must(r.store.Create(group, pinetree.Position{}))
	r.openGroup()
	t.Cleanup(func() { r.must(r.store.Close()) })
	return r
}

func (r *replica) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) dir() string { return filepath.Join(r.base, strconv.Itoa(r.stores)) }

func (r *replica) openStore() engine.Store {
	r.t.Helper()
	store, err := r.backend.open(r.dir())
	r.must(err)
	return store
}

func (r *replica) openGroup() {
	r.t.Helper()
	e, err := r.store.Open(group)
	r.must(err)
	r.engine = e
}

func (r *replica) apply(w engine.Write) {
	r.t.Helper()
	w.Position = w.Position.Clone()
	w.Position.Restored = r.engine.Position().Restored
	r.must(r.engine.Apply(w))
	r.unflushed = append(r.unflushed, w)
}

func (r *replica) flush() {
	r.t.Helper()
	at, err := r.engine.Flush()
	r.must(err)
	if at.Index != r.engine.Position().Index {
		r.t.Fatalf("flushed up to %d, applied %d", at.Index, r.engine.Position().Index)
	}
	r.unflushed = nil
}

// restart closes the store, opens it again, and applies what was lost in writes
// of several.
func (r *replica) restart() {
	r.t.Helper()
	r.must(r.store.Close())
	r.store = r.openStore()
	r.openGroup()
	left := r.engine.Position().Index
	lost := r.unflushed
	for len(lost) > 0 && lost[0].Position.Index <= left {
		lost = lost[1:]
	}
	r.unflushed = nil
	for len(lost) > 0 {
		n := min(3, len(lost))
		r.apply(merge(lost[:n]))
		lost = lost[n:]
	}
}

// move takes a snapshot into another store of the backend, which it goes on
// with.
func (r *replica) move() {
	r.t.Helper()
	old, oldDir := r.store, r.dir()
	r.stores++
	next := r.openStore()
	copyTo(r.t, old, next)
	r.must(old.Close())
	r.must(os.RemoveAll(oldDir))
	r.store, r.unflushed = next, nil
	r.openGroup()
}

// copyTo restores the group of one store in another.
func copyTo(t *testing.T, from, to engine.Store) {
	t.Helper()
	snapshot, err := from.Snapshot(group)
	if err != nil {
		t.Fatal(err)
	}
	restore, err := to.Restore(group, snapshot.Position())
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(snapshot.Chunks(restore.Write), restore.Commit(), restore.Close(), snapshot.Close())
	if err != nil {
		t.Fatal(err)
	}
}

func (r *replica) reader() engine.Reader {
	r.t.Helper()
	reader, err := r.engine.Volume(volume)
	r.must(err)
	return reader
}

// compare reads pages, keys and log as of an LSN, and compares them with the
// model.
func (r *replica) compare(h *history, at pinetree.LSN) {
	r.t.Helper()
	reader := r.reader()
	r.comparePage(h, reader, h.page(), at)
	r.compareKey(h, reader, h.key(), at)
	spec := engine.RangeSpec{Start: []byte(h.key()), Limit: h.random.IntN(20), At: at}
	if h.random.IntN(3) == 0 {
		spec.End = []byte(h.key())
	}
	r.compareRange(h, reader, spec)
	r.compareLog(h, reader, at)
}

func (r *replica) comparePage(h *history, reader engine.Reader, page uint64, at pinetree.LSN) {
	r.t.Helper()
	want, wantLSN, there := h.model.page(page, at)
	got, err := reader.Page(pinetree.PageNo(page), at)
	if there != (err == nil) || err != nil && !errors.Is(err, pinetree.ErrNotFound) || there && (got.PageLSN != wantLSN || !bytes.Equal(got.Page, want)) {
		r.t.Fatalf("page %d at %s: %d bytes of %s, %v, want %d bytes of %s, there: %v, equal: %v",
			page, at, len(got.Page), got.PageLSN, err, len(want), wantLSN, there, bytes.Equal(got.Page, want))
	}
}

func (r *replica) compareKey(h *history, reader engine.Reader, key string, at pinetree.LSN) {
	r.t.Helper()
	want, wantLSN, there := h.model.key(key, at)
	got, err := reader.Get([]byte(key), at)
	if there != (err == nil) || err != nil && !errors.Is(err, pinetree.ErrNotFound) || there && (got.KeyLSN != wantLSN || !bytes.Equal(got.Value, want)) {
		r.t.Fatalf("key %q at %s: %x of %s, %v, want %x of %s, there: %v", key, at, got.Value, got.KeyLSN, err, want, wantLSN, there)
	}
}

func (r *replica) compareRange(h *history, reader engine.Reader, spec engine.RangeSpec) {
	r.t.Helper()
	want, more := h.model.list(spec)
	got, err := reader.Range(spec)
	equal := err == nil && len(got.Items) == len(want) && got.More == more
	for i := 0; equal && i < len(want); i++ {
		equal = bytes.Equal(got.Items[i].Key, want[i].Key) && bytes.Equal(got.Items[i].Value, want[i].Value) && got.Items[i].LSN == want[i].LSN
	}
	if !equal {
		r.t.Fatalf("keys [%q, %q) at %s, %d at most: %q, more %v, %v, want %q, more %v", spec.Start, spec.End, spec.At, spec.Limit, got.Items, got.More, err, want, more)
	}
}

func (r *replica) compareLog(h *history, reader engine.Reader, from pinetree.LSN) {
	r.t.Helper()
	const most = 3
	want := h.model.after(from, most)
	enough := errors.New("enough")
	seen := 0
	err := reader.Log(from, func(b pinetree.Batch) error {
		if seen >= len(want) || b.Prev != want[seen].prev || b.LSN != want[seen].lsn || !bytes.Equal(b.Encoded, want[seen].encoded) {
			r.t.Fatalf("log from %s: batch %d is (%s, %s], want %d batches", from, seen, b.Prev, b.LSN, len(want))
		}
		if seen++; seen == most {
			return enough
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) || seen != len(want) {
		r.t.Fatalf("log from %s: %d batches, %v, want %d", from, seen, err, len(want))
	}
}

// anLSN is one that can be read at.
func anLSN(h *history, at pinetree.VolumePosition) pinetree.LSN {
	return max(at.First(), at.Truncated) + pinetree.LSN(h.random.Int64N(int64(at.LSN-at.First())+1))
}
