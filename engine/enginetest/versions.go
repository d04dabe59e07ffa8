package enginetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

func wantPage(t testing.TB, r engine.Reader, page pinetree.PageNo, want engine.PageRead, at pinetree.LSN) {
	t.Helper()
	got, err := r.Page(page, at)
	if err != nil || string(got.Page) != string(want.Page) || got.At != want.At || got.PageLSN != want.PageLSN {
		t.Fatalf("page %d at %s: %q of %s, read at %s, %v; want %q of %s, read at %s",
			page, at, got.Page, got.PageLSN, got.At, err, want.Page, want.PageLSN, want.At)
	}
}

// wantPages holds many pages to what each of them is by itself.
func wantPages(t testing.TB, r engine.Reader, pages []pinetree.PageNo, at pinetree.LSN) {
	t.Helper()
	got, err := engine.ReadPages(r, pages, at)
	if err != nil || len(got.Pages) != len(pages) {
		t.Fatalf("pages %d at %s: %d answers, %v", pages, at, len(got.Pages), err)
	}
	for i, p := range got.Pages {
		one, err := r.Page(pages[i], at)
		want := engine.PageOf{Found: err == nil, Page: one.Page, PageLSN: one.PageLSN}
		if p.Found != want.Found || string(p.Page) != string(want.Page) || p.PageLSN != want.PageLSN || got.At != one.At {
			t.Fatalf("page %d at %s among others, read at %s: %+v; by itself, read at %s: %+v, %v", pages[i], at, got.At, p, one.At, want, err)
		}
	}
}

func testPages(t *testing.T, b Backend) {
	x := newBench(t, b)
	e := x.create(1)
	w := newWriter(t)
	w.create(1, pinetree.FormatRedo, 0)
	w.batch(1,
		redo(10, image(1, "aaaa")),
		redo(20, patch(span{1, 1}, "b"), patch(span{1, 2}, "c")),
		redo(30, patch(span{1, 1}, "X"), patch(span{1, 1}, "Y"))) // order within a record
	w.batch(1,
		redo(40, patch(span{1, 0}, "lost"), image(1, "new"), patch(span{1, 2}, "t")),
		redo(50, patch(span{1, 5}, "far"))) // lengthens the page over a gap
	apply(t, e, w.write())
	w.batch(1,
		redo(60, patch(span{2, 2}, "z")), // a page without an image is empty
		redo(70, image(1, "")),
		redo(80, put("unrelated", "")))
	apply(t, e, w.write())

	check := func(r engine.Reader) {
		t.Helper()
		for _, c := range []struct {
			at, lsn pinetree.LSN
			want    string
		}{
			{10, 10, "aaaa"}, {15, 10, "aaaa"}, {20, 20, "abca"}, {29, 20, "abca"}, {30, 30, "aYca"},
			{40, 40, "net"}, {50, 50, "net\x00\x00far"}, {69, 50, "net\x00\x00far"}, {70, 70, ""}, {80, 70, ""},
		} {
			wantPage(t, r, 1, engine.PageRead{At: c.at, Page: []byte(c.want), PageLSN: c.lsn}, c.at)
		}
		wantPage(t, r, 2, engine.PageRead{At: 80, Page: []byte("\x00\x00z"), PageLSN: 60}, 0)
		for _, c := range []struct {
			page pinetree.PageNo
			at   pinetree.LSN
		}{{1, 9}, {2, 59}, {3, 0}, {0, 0}} {
			read, err := r.Page(c.page, c.at)
			wantError(t, fmt.Sprintf("page %d at %s", c.page, c.at), err, pinetree.ErrNotFound)
			if want := c.at; read.At != want && (c.at != 0 || read.At != 80) {
				t.Fatalf("page %d at %s: not found at %s", c.page, c.at, read.At)
			}
		}
		for _, at := range []pinetree.LSN{5, 10, 30, 60, 0} {
			wantPages(t, r, []pinetree.PageNo{2, 1, 3, 1}, at)
		}
	}
	check(volume(t, e, 1))
	read, err := volume(t, e, 1).Page(1, 10)
	if err != nil {
		t.Fatal(err)
	}
	copy(read.Page, "ZZZZ") // the page is the caller's
	check(volume(t, e, 1))
	flush(t, e)
	x.reopen()
	check(volume(t, x.engine(1), 1))
}

func wantKey(t testing.TB, r engine.Reader, key string, at pinetree.LSN, want string) {
	t.Helper()
	got, err := r.Get([]byte(key), at)
	if want == "" {
		wantError(t, fmt.Sprintf("key %q at %s", key, at), err, pinetree.ErrNotFound)
		return
	}
	if have := fmt.Sprintf("%s@%s", got.Value, got.KeyLSN); err != nil || have != want {
		t.Fatalf("key %q at %s: %s, %v, want %s", key, at, have, err, want)
	}
}

// list is a range as text: key=value@LSN of each item, + if there is more.
func list(t testing.TB, r engine.Reader, spec engine.RangeSpec) []string {
	t.Helper()
	read, err := r.Range(spec)
	if err != nil {
		t.Fatalf("range %+v: %v", spec, err)
	}
	var got []string
	for _, item := range read.Items {
		got = append(got, fmt.Sprintf("%s=%s@%s", item.Key, item.Value, item.LSN))
	}
	if read.More {
		got = append(got, "+")
	}
	return got
}

func testKeys(t *testing.T, b Backend) {
	x := newBench(t, b)
	e := x.create(1)
	w := newWriter(t)
	w.create(1, pinetree.FormatRedo, 0)
	w.batch(1,
		redo(1, put("b", "1"), put("a", "1")),
		redo(2, put("c", "1"), del("c"), put("d", "gone"), put("d", "1")), // order within a record
		redo(3, del("a"), del("never")),
		redo(4, put("b", "2"), put("a", "2"), del("a")))
	apply(t, e, w.write())
	w.batch(1, redo(5, put("e", "1"), put("a", "3")), redo(6, del("b"), put("d", "")))
	apply(t, e, w.write())

	check := func(r engine.Reader) {
		t.Helper()
		for _, c := range []struct {
			key  string
			at   pinetree.LSN
			want string
		}{
			{"a", 1, "1@0/1"}, {"a", 2, "1@0/1"}, {"a", 3, ""}, {"a", 4, ""}, {"a", 5, "3@0/5"}, {"a", 0, "3@0/5"},
			{"b", 3, "1@0/1"}, {"b", 4, "2@0/4"}, {"b", 6, ""}, {"b", 0, ""}, {"c", 2, ""}, {"never", 0, ""},
			{"d", 1, ""}, {"d", 2, "1@0/2"}, {"d", 0, "@0/6"}, {"", 0, ""}, {"aa", 0, ""},
		} {
			wantKey(t, r, c.key, c.at, c.want)
		}
		for _, c := range []struct {
			start, end string
			limit      int
			at         pinetree.LSN
			want       []string
		}{
			{"", "", 10, 0, []string{"a=3@0/5", "d=@0/6", "e=1@0/5"}},
			{"", "", 3, 0, []string{"a=3@0/5", "d=@0/6", "e=1@0/5"}},
			{"", "", 2, 0, []string{"a=3@0/5", "d=@0/6", "+"}},
			{"", "", 0, 0, []string{"+"}},
			{"", "", 10, 1, []string{"a=1@0/1", "b=1@0/1"}},
			{"", "", 10, 3, []string{"b=1@0/1", "d=1@0/2"}},
			{"", "", 1, 3, []string{"b=1@0/1", "+"}},
			{"b", "", 10, 5, []string{"b=2@0/4", "d=1@0/2", "e=1@0/5"}},
			{"b", "e", 10, 5, []string{"b=2@0/4", "d=1@0/2"}},
			{"bb", "dd", 1, 5, []string{"d=1@0/2"}},
			{"a", "a", 10, 0, nil}, {"b", "a", 10, 0, nil}, {"f", "", 10, 0, nil}, {"", "a", 10, 0, nil},
		} {
			spec := engine.RangeSpec{Start: []byte(c.start), End: []byte(c.end), Limit: c.limit, At: c.at}
			if diff := cmp.Diff(c.want, list(t, r, spec)); diff != "" {
				t.Fatalf("range %q %q limit %d at %s, want (-) and got (+):\n%s", c.start, c.end, c.limit, c.at, diff)
			}
		}
	}
	check(volume(t, e, 1))
	flush(t, e)
	x.reopen()
	check(volume(t, x.engine(1), 1))
}

// testKeyNames has keys that an encoding could mix up: their order is that of
// their bytes, and none shows up as another.
func testKeyNames(t *testing.T, b Backend) {
	x := newBench(t, b)
	e := x.create(1)
	w := newWriter(t)
	w.create(1, pinetree.FormatRedo, 0)
	names := []string{"", "\x00", "\x00\x00", "\x00\x01", "\x00\xff", "\x01", "a", "a\x00", "a\x00\x00", "a\x00\x01",
		"a\x00\x01\xff", "a\x00\xff", "a\x01", "a\xff", "ab", "\xff", "\xff\x00", "\xff\xff", string(make([]byte, engine.MaxKeyBytes))}
	for i := range 3 {
		for j, name := range names {
			at := pinetree.LSN(100*i + j + 1)
			w.batch(1, redo(at, put(name, fmt.Sprintf("%d-%d", i, j))))
		}
		apply(t, e, w.write())
	}
	r := volume(t, e, 1)
	for j, name := range names {
		for i := range 3 {
			at := pinetree.LSN(100*i + j + 1)
			wantKey(t, r, name, at, fmt.Sprintf("%d-%d@%s", i, j, at))
		}
	}
	read, err := r.Range(engine.RangeSpec{Limit: 100, At: 200})
	if err != nil || len(read.Items) != len(names) || read.More {
		t.Fatalf("range: %d keys, more %v, %v, want %d", len(read.Items), read.More, err, len(names))
	}
	for i, item := range read.Items {
		if i > 0 && string(read.Items[i-1].Key) >= string(item.Key) {
			t.Fatalf("range: %q comes before %q", read.Items[i-1].Key, item.Key)
		}
		wantKey(t, r, string(item.Key), 200, fmt.Sprintf("%s@%s", item.Value, item.LSN))
	}
}

func testReadAt(t *testing.T, b Backend) {
	x := newBench(t, b)
	e := x.create(1)
	w := newWriter(t)
	w.create(1, pinetree.FormatRedo, 1000)
	apply(t, e, w.write())
	r := volume(t, e, 1)
	if read, err := r.Get([]byte("k"), 0); !errors.Is(err, pinetree.ErrNotFound) || read.At != 1000 {
		t.Fatalf("key of an empty volume: at %s, %v, want not found at its base", read.At, err)
	}
	wantLog(t, r, 0)
	w.batch(1, redo(1010, put("k", "1"), image(1, "p1")), redo(1020, put("k", "2"), image(1, "p2")))
	apply(t, e, w.write())
	// A reader is not tied to the state in which it was made.
	for _, c := range []struct {
		at, seen pinetree.LSN
		want     string
	}{{0, 1020, "2"}, {1010, 1010, "1"}, {1019, 1019, "1"}, {1020, 1020, "2"}, {1021, 1020, "2"}, {1 << 62, 1020, "2"}} {
		key, err := r.Get([]byte("k"), c.at)
		if err != nil || string(key.Value) != c.want || key.At != c.seen {
			t.Fatalf("key at %s: %q, read at %s, %v, want %q read at %s", c.at, key.Value, key.At, err, c.want, c.seen)
		}
		items, err := r.Range(engine.RangeSpec{Limit: 9, At: c.at})
		if err != nil || items.At != c.seen || len(items.Items) != 1 || string(items.Items[0].Value) != c.want {
			t.Fatalf("range at %s: %+v, %v, want %q read at %s", c.at, items, err, c.want, c.seen)
		}
		page, err := r.Page(1, c.at)
		if err != nil || string(page.Page) != "p"+c.want || page.At != c.seen {
			t.Fatalf("page at %s: %q, read at %s, %v, want p%s read at %s", c.at, page.Page, page.At, err, c.want, c.seen)
		}
	}
	wantKey(t, r, "k", 1009, "")
	wantKey(t, r, "k", 1, "")
}

func testTruncated(t *testing.T, b Backend) {
	x := newBench(t, b)
	e := x.create(1)
	w := newWriter(t)
	w.create(1, pinetree.FormatRedo, 0)
	w.batch(1, redo(10, put("k", "1"), image(1, "p1")), redo(20, put("k", "2"), image(1, "p2")))
	w.batch(1, redo(30, put("k", "3"), image(1, "p3")))
	apply(t, e, w.write())
	v := w.position.Volumes[1]
	v.Truncated = 20
	w.position.Volumes[1] = v
	apply(t, e, w.write())
	r := volume(t, e, 1)
	for _, at := range []pinetree.LSN{1, 10, 19} {
		_, page := r.Page(1, at)
		_, key := r.Get([]byte("k"), at)
		_, list := r.Range(engine.RangeSpec{Limit: 1, At: at})
		log := r.Log(at, func(pinetree.Batch) error { return nil })
		for what, err := range map[string]error{"page": page, "key": key, "range": list, "log": log} {
			var gone *pinetree.TruncatedError
			if !errors.As(err, &gone) || gone.Volume != 1 || gone.Asked != at || gone.First != 20 {
				t.Fatalf("%s at %s: %v, want a TruncatedError that asks for it and begins at 0/14", what, at, err)
			}
		}
	}
	wantKey(t, r, "k", 20, "2@0/14")
	wantKey(t, r, "k", 0, "3@0/1E")
	wantPage(t, r, 1, engine.PageRead{At: 20, Page: []byte("p2"), PageLSN: 20}, 20)
	wantLog(t, r, 20, 30)
}
