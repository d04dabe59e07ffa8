package model

import (
	"errors"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func size() scale {
	if os.Getenv(sizeVariable) == "full" {
		return full
	}
	return quick
}

// TestAnEngineReadsLikeItsModel lets everything happen to a volume that happens
// to one, and reads at random LSNs all the while.
func TestAnEngineReadsLikeItsModel(t *testing.T) {
	for _, b := range []backend{badger, pebble} {
		t.Run(b.name, func(t *testing.T) {
			happened := live(t, b, newHistory(size(), 77))
			t.Logf("%+v", happened)
			if happened.restarts < 3 || happened.losses < 1 || happened.moves < 1 || happened.truncations < 3 {
				t.Fatalf("%+v, the test means everything to happen", happened)
			}
		})
	}
}

// events counts what happened to a volume.
type events struct {
	writes, reads, flushes, restarts, losses, moves, truncations int
}

func live(t *testing.T, b backend, h *history) (happened events) {
	t.Helper()
	r := newReplica(t, b)
	for h.made < h.ops {
		if h.chance(h.truncations) && h.made > 0 {
			h.truncate()
			happened.truncations++
		}
		w, err := h.next()
		r.must(err)
		r.apply(w)
		happened.writes++
		switch {
		case h.chance(h.flushes):
			r.flush()
			happened.flushes++
		case h.chance(h.restarts):
			applied := r.engine.Position().Index
			if len(r.unflushed) > 0 {
				happened.losses++
			}
			r.restart()
			happened.restarts++
			if r.engine.Position().Index != applied {
				t.Fatalf("after a restart and a replay the index is %d, want %d", r.engine.Position().Index, applied)
			}
		case h.chance(h.moves):
			r.move()
			happened.moves++
		}
		at := r.engine.Position().Volumes[volume]
		for range 8 {
			r.compare(h, anLSN(h, at))
			happened.reads += 4
		}
		wantTruncated(t, r, at)
	}
	r.flush()
	all(t, r, h)
	r.restart()
	all(t, r, h)
	return happened
}

// wantTruncated reads below what is kept.
func wantTruncated(t *testing.T, r *replica, at pinetree.VolumePosition) {
	t.Helper()
	if at.Truncated == 0 {
		return
	}
	_, err := r.reader().Page(1, at.Truncated-1)
	var gone *pinetree.TruncatedError
	if !errors.As(err, &gone) || gone.First != at.Truncated {
		t.Fatalf("a page below what is kept from %s: %v", at.Truncated, err)
	}
}

// all compares each page and each key, as of the newest LSN, the oldest that is
// kept and one between, and the whole log.
func all(t *testing.T, r *replica, h *history) {
	t.Helper()
	reader, at := r.reader(), r.engine.Position().Volumes[volume]
	for _, lsn := range []pinetree.LSN{at.LSN, anLSN(h, at), at.First()} {
		for page := range uint64(h.pages) {
			r.comparePage(h, reader, page, lsn)
		}
		r.compareRange(h, reader, engine.RangeSpec{Limit: h.keys + 1, At: lsn})
	}
	end := at.First()
	err := reader.Log(end, func(b pinetree.Batch) error { end = b.LSN; return nil })
	if err != nil || end != at.LSN {
		t.Fatalf("the log ends at %s, %v, want %s", end, err, at.LSN)
	}
}

// TestThreeReplicasHaveTheSameDigests replays one log on badger, on pebble, and
// on a replica that begins with a snapshot of the first, each in writes cut
// elsewhere, and compares them at 100 LSNs.
func TestThreeReplicasHaveTheSameDigests(t *testing.T) {
	s := scale{ops: 4_000, pages: 200, keys: 60, truncations: 2}
	if size() == full {
		s = scale{ops: 100_000, pages: 4_000, keys: 1_000, truncations: 5}
	}
	h := newHistory(s, 99)
	var writes []engine.Write
	for h.made < h.ops {
		if h.chance(h.truncations) && h.made > 0 {
			h.truncate()
		}
		w, err := h.next()
		if err != nil {
			t.Fatal(err)
		}
		writes = append(writes, w)
	}
	half := len(writes) / 2
	replicas := []*replica{newReplica(t, badger), newReplica(t, pebble), newReplica(t, badger)}
	first, third := replicas[0], replicas[2]
	first.replay(h, writes[:half], 1)
	copyTo(t, first.store, third.store)
	third.openGroup()
	first.replay(h, writes[half:], 2)
	replicas[1].replay(h, writes, 7)
	third.replay(h, writes[half:], 4)
	third.flush()
	third.restart()

	at := first.engine.Position().Volumes[volume]
	lsns := []pinetree.LSN{at.First(), at.LSN}
	for len(lsns) < 100 {
		lsns = append(lsns, anLSN(h, at))
	}
	var want []engine.DigestResult
	for i, r := range replicas {
		got, err := engine.Digests(r.reader(), lsns)
		r.must(err)
		if i == 0 {
			want = got
		}
		for n, digest := range got {
			if digest != want[n] {
				t.Errorf("at %s replica %d has digest %+v, the first %+v", lsns[n], i+1, digest, want[n])
			}
		}
	}
	if want[1].Records == 0 || want[0] == want[1] {
		t.Fatalf("the digests are of %d records, and the oldest is the newest: %v", want[1].Records, want[0] == want[1])
	}
}

// replay applies writes, up to so many of them at once.
func (r *replica) replay(h *history, writes []engine.Write, most int) {
	r.t.Helper()
	for len(writes) > 0 {
		n := min(1+h.random.IntN(most), len(writes))
		r.apply(merge(writes[:n]))
		writes = writes[n:]
	}
}
