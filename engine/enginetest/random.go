package enginetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/engine/metatest"
)

// testSameAsMemory applies random writes to the backend and to memengine and
// compares random reads at random LSNs, digests, and both again after the
// store was closed and opened on the way.
func testSameAsMemory(t *testing.T, b Backend) {
	for seed := uint64(1); seed <= 3; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			x := newBench(t, b)
			real, model := x.create(1), memory(t)
			w := b.workload(t, seed)
			random := rand.New(rand.NewPCG(seed, 2))
			for round := range 200 {
				write := w.next()
				apply(t, real, write)
				apply(t, model, write)
				if round%5 == 0 {
					compareReads(t, random, real, model, 6)
				}
				if round%10 == 5 {
					flush(t, real) // what is truncated may go
				}
				if round%70 == 69 {
					flush(t, real)
					x.reopen()
					real = x.engine(1)
					compareDigests(t, random, real, model)
				}
			}
			compareReads(t, random, real, model, 1500)
			if diff := cmp.Diff(model.Position(), real.Position(), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("position, memory (-) and backend (+):\n%s", diff)
			}
		})
	}
}

// testSameAsMemoryWithRestores also takes snapshots, goes back to one of them
// now and then, in this store or in another, and replays what came after it in
// writes cut elsewhere.
func testSameAsMemoryWithRestores(t *testing.T, b Backend) {
	for seed := uint64(41); seed <= 42; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			stores := []*bench{newBench(t, b), newBench(t, b)}
			here := 0
			h := newHistory(t, b, stores[here].create(1), seed)
			var writes []engine.Write
			var kept taken
			restores := 0
			for len(writes) < 250 {
				for range h.random.IntN(12) {
					writes = append(writes, h.next())
					apply(t, h.real, writes[len(writes)-1])
					apply(t, h.model, writes[len(writes)-1])
				}
				switch n := h.random.IntN(10); {
				case n < 3:
					kept = take(t, stores[here].store, 1)
				case n < 5 && kept.chunks != nil:
					here = h.random.IntN(len(stores))
					kept.restore(t, stores[here].store, 1)
					h.real = stores[here].engine(1)
					replayRest(t, h, writes)
					restores++
				case n < 7:
					if err := take(t, stores[here].store, 1).begin(t, stores[1-here].store, 1).Close(); err != nil {
						t.Fatal(err)
					}
				case n < 8:
					flush(t, h.real)
					stores[here].reopen()
					h.real = stores[here].engine(1)
				}
				compareReads(t, h.random, h.real, h.model, 10)
			}
			if restores < 3 {
				t.Fatalf("%d restores, the test wants more", restores)
			}
			h.check(h.real)
		})
	}
}

// replayRest applies what the engine does not have yet.
func replayRest(t testing.TB, h *history, writes []engine.Write) {
	t.Helper()
	restored := h.real.Position()
	rest := writes[restored.Index:]
	for len(rest) > 0 {
		n := min(len(rest), 1+h.random.IntN(4))
		write := merge(rest[:n])
		write.Position.Restored = restored.Restored
		apply(t, h.real, write)
		rest = rest[n:]
	}
	h.position.Restored = restored.Restored
}

func memory(t testing.TB) engine.Engine {
	t.Helper()
	s := memengine.New(memengine.Options{})
	if err := s.Create(1, pinetree.Position{}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func compareReads(t testing.TB, random *rand.Rand, real, model engine.Engine, reads int) {
	t.Helper()
	metatest.Compare(t, real, model)
	for range reads {
		id := pinetree.VolumeID(1 + random.IntN(workloadVolume))
		if _, ok := model.Position().Volumes[id]; !ok {
			_, err := real.Volume(id)
			wantError(t, "volume that memory does not have", err, pinetree.ErrUnknownVolume)
			continue
		}
		q := query{
			at:    pinetree.LSN(random.Int64N(int64(model.Position().Volumes[id].LSN) + 2)),
			page:  pinetree.PageNo(random.IntN(workloadPages + 1)),
			key:   (&workload{random: random}).key(),
			end:   (&workload{random: random}).key(),
			limit: random.IntN(12),
		}
		if random.IntN(4) == 0 {
			q.end = ""
		}
		want, got := q.ask(volume(t, model, id)), q.ask(volume(t, real, id))
		if !slices.Equal(want, got) {
			t.Fatalf("volume %d, %+v: memory (-) and backend (+):\n%s", id, q, cmp.Diff(want, got))
		}
	}
}

// query is one question of each kind to a Reader.
type query struct {
	at       pinetree.LSN
	page     pinetree.PageNo
	key, end string
	limit    int
}

// ask asks all questions and puts the answers in words.
func (q query) ask(r engine.Reader) []string {
	page, err := r.Page(q.page, q.at)
	answers := []string{fmt.Sprintf("page %q of %s at %s, %s", page.Page, page.PageLSN, page.At, inWords(err))}
	many, err := engine.ReadPages(r, []pinetree.PageNo{q.page + 1, q.page, q.page + 1}, q.at)
	answers = append(answers, fmt.Sprintf("%d pages at %s, %s", len(many.Pages), many.At, inWords(err)))
	for _, page := range many.Pages {
		answers = append(answers, fmt.Sprintf("page %q of %s, found %v", page.Page, page.PageLSN, page.Found))
	}
	key, err := r.Get([]byte(q.key), q.at)
	answers = append(answers, fmt.Sprintf("key %q of %s at %s, %s", key.Value, key.KeyLSN, key.At, inWords(err)))
	list, err := r.Range(engine.RangeSpec{Start: []byte(q.key), End: []byte(q.end), Limit: q.limit, At: q.at})
	answers = append(answers, fmt.Sprintf("range at %s, more %v, %s", list.At, list.More, inWords(err)))
	for _, item := range list.Items {
		answers = append(answers, fmt.Sprintf("item %q: %q of %s", item.Key, item.Value, item.LSN))
	}
	enough := errors.New("enough")
	batches := 0
	err = r.Log(q.at, func(b pinetree.Batch) error {
		if batches++; batches > 3 {
			return enough
		}
		answers = append(answers, fmt.Sprintf("batch (%s, %s] of volume %d, term %d, %d records", b.Prev, b.LSN, b.Volume, b.Term, b.Count))
		return nil
	})
	return append(answers, "log "+inWords(err))
}

// inWords leaves out what backends may word differently.
func inWords(err error) string {
	if errors.Is(err, pinetree.ErrNotFound) {
		return "not found"
	}
	return fmt.Sprint(err)
}

// compareDigests compares the digests of all volumes, at the newest and at a
// random LSN.
func compareDigests(t testing.TB, random *rand.Rand, real, model engine.Engine) {
	t.Helper()
	for id, v := range model.Position().Volumes {
		for _, at := range []pinetree.LSN{0, v.Truncated + pinetree.LSN(random.Int64N(int64(v.LSN-v.Truncated)+1))} {
			want, got := digest(t, volume(t, model, id), at), digest(t, volume(t, real, id), at)
			if want != got {
				t.Fatalf("volume %d at %s: digest %+v, memory's is %+v", id, at, got, want)
			}
		}
	}
}

func digest(t testing.TB, r engine.Reader, at pinetree.LSN) engine.DigestResult {
	t.Helper()
	d, err := engine.Digest(r, at)
	if err != nil {
		t.Fatalf("digest at %s: %v", at, err)
	}
	return d
}

// testDigest checks what a digest depends on, and that it depends on nothing
// else.
func testDigest(t *testing.T, b Backend) {
	x := newBench(t, b)
	truncated := pinetree.LSN(0)
	build := func(id pinetree.GroupID, batches ...[]record) engine.Reader {
		w := newWriter(t)
		w.create(1, pinetree.FormatRedo, 0)
		e := x.create(id)
		for _, records := range batches {
			w.batch(1, records...)
			apply(t, e, w.write())
		}
		v := w.position.Volumes[1]
		v.Truncated = truncated
		w.position.Volumes[1] = v
		apply(t, e, w.write())
		return volume(t, e, 1)
	}
	one, two, three := redo(10, image(1, "p"), put("a", "1")), redo(20, patch(span{1, 0}, "q")), redo(30, del("a"), put("b", "2"))
	whole := build(1, []record{one, two, three})
	apart := build(2, []record{one}, []record{two}, []record{three})
	for _, at := range []pinetree.LSN{0, 5, 10, 15, 20, 30, 40} {
		if a, b := digest(t, whole, at), digest(t, apart, at); a != b {
			t.Fatalf("at %s: %+v in one batch, %+v in three", at, a, b)
		}
	}
	newest := digest(t, whole, 0)
	size := int64(len(one.payload) + len(two.payload) + len(three.payload))
	if newest.At != 30 || newest.Records != 3 || newest.Bytes != size || newest != digest(t, whole, 30) {
		t.Fatalf("digest %+v, want 3 records of %d bytes at 0/1E", newest, size)
	}
	seen := map[[32]byte]pinetree.LSN{}
	for _, at := range []pinetree.LSN{5, 10, 20, 30} {
		d := digest(t, whole, at)
		if other, ok := seen[d.Sum]; ok {
			t.Fatalf("the digests at %s and %s are equal", at, other)
		}
		seen[d.Sum] = at
	}
	for i, records := range [][]record{
		{one, two, redo(30, del("a"), put("b", "3"))},
		{one, two, redo(31, del("a"), put("b", "2"))},
		{one, redo(21, patch(span{1, 0}, "q")), three},
		{one, two, three, redo(40)},
	} {
		if d := digest(t, build(pinetree.GroupID(10+i), records), 0); d.Sum == newest.Sum {
			t.Fatalf("history %d differs, and its digest is equal", i)
		}
	}
	truncated = 15
	if a, b := digest(t, build(20, []record{one, two, three}), 0), digest(t, build(21, []record{one}, []record{two}, []record{three}), 0); a != b || a.Records != 2 {
		t.Fatalf("truncated at 0/F: %+v in one batch, %+v in three, want two records", a, b)
	}
}
