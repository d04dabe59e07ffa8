package enginetest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

func testLog(t *testing.T, b Backend) {
	x := newBench(t, b)
	e := x.create(1)
	w := newWriter(t)
	w.create(1, pinetree.FormatOpaque, 100)
	w.batch(1, record{110, []byte("one")}, record{120, []byte("two")}, record{130, nil})
	w.batch(1, record{140, []byte("three")})
	apply(t, e, w.write())
	w.batch(1, record{1 << 40, []byte("far")}, record{1<<40 + 1, []byte("next")})
	write := w.write()
	apply(t, e, write)
	check := func(r engine.Reader) {
		t.Helper()
		const last = 1<<40 + 1
		for _, c := range []struct {
			from pinetree.LSN
			want []pinetree.LSN
		}{
			{0, []pinetree.LSN{130, 140, last}}, {50, []pinetree.LSN{130, 140, last}}, {100, []pinetree.LSN{130, 140, last}},
			{110, []pinetree.LSN{130, 140, last}}, {115, []pinetree.LSN{130, 140, last}}, {129, []pinetree.LSN{130, 140, last}},
			{130, []pinetree.LSN{140, last}}, {139, []pinetree.LSN{140, last}}, {140, []pinetree.LSN{last}},
			{1 << 40, []pinetree.LSN{last}}, {last, nil}, {last + 1, nil}, {1 << 63, nil},
		} {
			wantLog(t, r, c.from, c.want...)
		}
		var got []byte
		if err := r.Log(140, func(b pinetree.Batch) error { got = bytes.Clone(b.Encoded); return nil }); err != nil || !bytes.Equal(got, write.Batches[0].Encoded) {
			t.Fatalf("the batch is not the one that was applied: %v", err)
		}
		stop := errors.New("enough")
		calls := 0
		err := r.Log(0, func(pinetree.Batch) error { calls++; return stop })
		if !errors.Is(err, stop) || calls != 1 {
			t.Fatalf("log: %v after %d calls, want fn's error after one", err, calls)
		}
		// fn may read meanwhile.
		err = r.Log(0, func(b pinetree.Batch) error { return r.Log(b.LSN, func(pinetree.Batch) error { return nil }) })
		if err != nil {
			t.Fatalf("log within log: %v", err)
		}
	}
	check(volume(t, e, 1))
	flush(t, e)
	x.reopen()
	check(volume(t, x.engine(1), 1))
}

// testLogChecksum applies a batch whose bytes are damaged behind its header,
// as memory or a disk may do after Apply: it must not be handed out.
func testLogChecksum(t *testing.T, b Backend) {
	x := newBench(t, b)
	e := x.create(1)
	w := newWriter(t)
	w.create(1, pinetree.FormatOpaque, 0)
	w.batch(1, record{10, []byte("sound")})
	w.batch(1, record{20, []byte("damaged")})
	write := w.write()
	write.Batches[1].Encoded[len(write.Batches[1].Encoded)-1] ^= 1
	apply(t, e, write)
	var got []pinetree.LSN
	err := volume(t, e, 1).Log(0, func(b pinetree.Batch) error { got = append(got, b.LSN); return nil })
	wantError(t, "log with a damaged batch", err, pinetree.ErrCorrupt)
	if len(got) != 1 || got[0] != 10 {
		t.Fatalf("batches %v were handed out, want the first one only", got)
	}
}

// testApart has the same names and LSNs in several volumes and groups.
func testApart(t *testing.T, b Backend) {
	x := newBench(t, b)
	type place struct {
		group  pinetree.GroupID
		volume pinetree.VolumeID
	}
	places := []place{{1, 1}, {1, 2}, {1, 256}, {2, 1}, {256, 1}, {2, 1 << 60}}
	writers := map[pinetree.GroupID]*writer{}
	text := func(p place, n byte) string {
		return string([]byte{'v', byte(p.group), byte(p.volume), byte(p.volume >> 56), n})
	}
	for n := byte(1); n <= 3; n++ {
		for _, p := range places {
			w := writers[p.group]
			if w == nil {
				w = newWriter(t)
				writers[p.group] = w
				x.create(p.group)
			}
			if _, ok := w.position.Volumes[p.volume]; !ok {
				w.create(p.volume, pinetree.FormatRedo, 0)
			}
			w.batch(p.volume, redo(pinetree.LSN(n)*10, put("k", text(p, n)), image(1, text(p, n))))
		}
		for id, w := range writers {
			apply(t, x.engine(id), w.write())
		}
	}
	check := func(places []place) {
		t.Helper()
		for _, p := range places {
			r := volume(t, x.engine(p.group), p.volume)
			for n := byte(1); n <= 3; n++ {
				at := pinetree.LSN(n) * 10
				wantKey(t, r, "k", at, text(p, n)+"@"+at.String())
				wantPage(t, r, 1, engine.PageRead{At: at, Page: []byte(text(p, n)), PageLSN: at}, at)
			}
			if got := list(t, r, engine.RangeSpec{Limit: 10}); len(got) != 1 {
				t.Fatalf("group %d, volume %d lists %q, want its one key", p.group, p.volume, got)
			}
			wantLog(t, r, 0, 10, 20, 30)
		}
	}
	check(places)
	for id := range writers {
		flush(t, x.engine(id))
	}
	if err := x.store.Remove(2); err != nil {
		t.Fatalf("remove: %v", err)
	}
	rest := []place{{1, 1}, {1, 2}, {1, 256}, {256, 1}}
	check(rest)
	x.reopen()
	check(rest)
}
