package enginetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

func testGroups(t *testing.T, b Backend) {
	x := newBench(t, b)
	_, err := x.store.Open(7)
	wantError(t, "open of a group that was never created", err, pinetree.ErrUnknownGroup)
	x.create(9)
	e := x.create(7)
	if again := x.engine(7); again != e {
		t.Fatal("opening twice returned two engines")
	}
	w := newWriter(t)
	w.create(1, pinetree.FormatOpaque, 0)
	w.batch(1, record{10, []byte("x")})
	apply(t, e, w.write())
	if err := x.store.Create(7, pinetree.Position{Index: 99}); err != nil || x.engine(7).Position().Index != 1 {
		t.Fatalf("create of a group that is there: %v, index %d, want it left as it is", err, x.engine(7).Position().Index)
	}
	wantGroups(x, 7, 9)
	flush(t, e)
	for range 2 { // the second time with a restart in between
		if err := x.store.Remove(7); err != nil {
			t.Fatalf("remove: %v", err)
		}
		_, err = x.store.Open(7)
		wantError(t, "open of a removed group", err, pinetree.ErrUnknownGroup)
		wantGroups(x, 9)
		// What was of the removed group must not show in a new one of its id.
		if err := x.store.Create(7, w.position); err != nil {
			t.Fatalf("create again: %v", err)
		}
		err = volume(t, x.engine(7), 1).Log(0, func(b pinetree.Batch) error {
			return fmt.Errorf("found batch (%s, %s] of the removed group", b.Prev, b.LSN)
		})
		if err != nil {
			wantError(t, "log of the new group", err, pinetree.ErrCorrupt) // a hole, named as such
		}
		x.reopen()
		wantGroups(x, 7, 9)
	}
	if err := x.store.Remove(1234); err != nil {
		t.Fatalf("remove of a group that is not there: %v", err)
	}
}

func wantGroups(x *bench, want ...pinetree.GroupID) {
	x.t.Helper()
	got, err := x.store.Groups()
	if err != nil || !slices.Equal(got, want) {
		x.t.Fatalf("groups %v, %v, want %v", got, err, want)
	}
}

func testPosition(t *testing.T, b Backend) {
	x := newBench(t, b)
	start := pinetree.Position{Index: 4, Term: 2, Membership: []byte("first"), Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{}}
	if err := x.store.Create(1, start); err != nil {
		t.Fatalf("create: %v", err)
	}
	e := x.engine(1)
	wantPosition(t, e, start)
	_, err := e.Volume(5)
	wantError(t, "volume that is not there", err, pinetree.ErrUnknownVolume)

	w := newWriter(t)
	w.position = start.Clone()
	w.create(5, pinetree.FormatRedo, 100)
	w.create(6, pinetree.FormatOpaque, 0)
	w.batch(5, redo(110, put("a", "1")), redo(120, put("b", "1")))
	w.batch(6, record{10, []byte("opaque")})
	w.batch(5, redo(130, put("a", "2")))
	w.position.Membership = []byte("second")
	write := w.write()
	apply(t, e, write)
	wantPosition(t, e, write.Position)
	if got := volume(t, e, 5).Position(); !cmp.Equal(got, write.Position.Volumes[5]) {
		t.Fatalf("volume position %+v, want %+v", got, write.Position.Volumes[5])
	}
	if read, err := volume(t, e, 5).Get([]byte("a"), 0); err != nil || string(read.Value) != "2" || read.At != 130 {
		t.Fatalf("key a: %+v, %v, want 2 at 0/82", read, err)
	}
	// A write may hold no batch, such as a fence.
	v := w.position.Volumes[6]
	v.Terms = append(slices.Clone(v.Terms), pinetree.TermStart{Term: 9, Start: v.LSN})
	w.position.Volumes[6] = v
	fence := w.write()
	apply(t, e, fence)
	flush(t, e)
	x.reopen()
	e = x.engine(1)
	wantPosition(t, e, fence.Position)
	if got := e.Flushed().Index; got != fence.Position.Index {
		t.Fatalf("flushed after a reopen: %d, want %d", got, fence.Position.Index)
	}
}

func wantPosition(t testing.TB, e engine.Engine, want pinetree.Position) {
	t.Helper()
	if diff := cmp.Diff(want, e.Position(), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("position, want (-) and got (+):\n%s", diff)
	}
}

func testUndecodable(t *testing.T, b Backend) {
	x := newBench(t, b)
	e, other := x.create(1), x.create(2)
	w := newWriter(t)
	w.create(1, pinetree.FormatRedo, 0)
	w.create(2, pinetree.FormatOpaque, 0)
	w.batch(1, redo(10, put("a", "good")))
	good := w.write()
	apply(t, e, good)
	flush(t, e)

	w.batch(2, record{5, []byte("good, but of the same write")})
	w.batch(1, redo(20, put("a", "bad")), redo(30, image(1, "bad")))
	w.batch(1, record{40, []byte("this is no redo message")})
	wantError(t, "apply of a payload that does not decode", e.Apply(w.write()), pinetree.ErrCorrupt)
	check := func(e engine.Engine) {
		t.Helper()
		wantPosition(t, e, good.Position)
		if read, err := volume(t, e, 1).Get([]byte("a"), 0); err != nil || string(read.Value) != "good" {
			t.Fatalf("key a is %q, %v, want good", read.Value, err)
		}
		_, err := volume(t, e, 1).Page(1, 0)
		wantError(t, "page of the write that failed", err, pinetree.ErrNotFound)
		wantLog(t, volume(t, e, 1), 0, 10)
		wantLog(t, volume(t, e, 2), 0)
	}
	check(e)
	if err := e.Apply(good); err == nil {
		t.Fatal("an engine that failed took another write")
	}
	ok := newWriter(t)
	ok.create(1, pinetree.FormatRedo, 0)
	ok.batch(1, redo(10, put("a", "fine")))
	apply(t, other, ok.write()) // the other group is not concerned
	x.reopen()
	check(x.engine(1))
}

func testMisplaced(t *testing.T, b Backend) {
	x := newBench(t, b)
	for i, c := range []struct {
		name  string
		spoil func(*engine.Write)
	}{
		{"an index that does not rise", func(w *engine.Write) { w.Position.Index = 1 }},
		{"a hole before a batch", func(w *engine.Write) { w.Batches = w.Batches[1:] }},
		{"a position that the batches do not reach", func(w *engine.Write) { w.Batches = w.Batches[:1] }},
		{"an unknown format", func(w *engine.Write) { w.Position.Volumes[1] = pinetree.VolumePosition{LSN: 30, Format: 77} }},
	} {
		e := x.create(pinetree.GroupID(i + 1))
		w := newWriter(t)
		w.create(1, pinetree.FormatOpaque, 0)
		w.batch(1, record{10, []byte("x")})
		apply(t, e, w.write())
		w.batch(1, record{20, []byte("y")})
		w.batch(1, record{30, []byte("z")})
		write := w.write()
		c.spoil(&write)
		wantError(t, c.name, e.Apply(write), pinetree.ErrCorrupt)
		wantLog(t, volume(t, e, 1), 0, 10)
	}
}

// wantLog checks that the log from an LSN has batches with these ends and that
// they follow on each other.
func wantLog(t testing.TB, r engine.Reader, from pinetree.LSN, ends ...pinetree.LSN) {
	t.Helper()
	var got []pinetree.LSN
	var tail pinetree.LSN
	err := r.Log(from, func(b pinetree.Batch) error {
		checked, rest, err := storepb.DecodeBatch(b.Encoded)
		same := checked.Volume == b.Volume && checked.Term == b.Term && checked.Prev == b.Prev && checked.LSN == b.LSN && checked.Count == b.Count
		if err != nil || len(rest) != 0 || !same {
			t.Errorf("batch (%s, %s]: the encoded form says (%s, %s], %v", b.Prev, b.LSN, checked.Prev, checked.LSN, err)
		}
		if len(got) > 0 && b.Prev != tail {
			t.Errorf("batch (%s, %s] does not follow on %s", b.Prev, b.LSN, tail)
		}
		got, tail = append(got, b.LSN), b.LSN
		return nil
	})
	if err != nil || !slices.Equal(got, ends) {
		t.Fatalf("log from %s: batches end at %v, %v, want %v", from, got, err, ends)
	}
}
