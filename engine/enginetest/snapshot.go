package enginetest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// taken is a snapshot in memory.
type taken struct {
	at     pinetree.Position
	chunks [][]byte
}

func take(t testing.TB, s engine.Store, id pinetree.GroupID) taken {
	t.Helper()
	return takeMeanwhile(t, s, id, func() {})
}

// takeMeanwhile calls meanwhile after the snapshot was opened, and again
// whenever it has given out a chunk.
func takeMeanwhile(t testing.TB, s engine.Store, id pinetree.GroupID, meanwhile func()) taken {
	t.Helper()
	snapshot, err := s.Snapshot(id)
	if err != nil {
		t.Fatalf("snapshot of group %d: %v", id, err)
	}
	got := taken{at: snapshot.Position()}
	meanwhile()
	err = snapshot.Chunks(func(chunk []byte) error {
		if len(chunk) > engine.MaxChunkBytes {
			t.Errorf("a chunk has %d bytes, the most is %d", len(chunk), engine.MaxChunkBytes)
		}
		got.chunks = append(got.chunks, bytes.Clone(chunk))
		meanwhile()
		clear(chunk) // fn's only during the call; after it nobody may use it
		return nil
	})
	if err != nil {
		t.Fatalf("chunks of group %d: %v", id, err)
	}
	if err := snapshot.Close(); err != nil {
		t.Fatalf("close of the snapshot of group %d: %v", id, err)
	}
	return got
}

// begin writes the snapshot into a Restore and commits nothing.
func (s taken) begin(t testing.TB, store engine.Store, id pinetree.GroupID) engine.Restore {
	t.Helper()
	r, err := store.Restore(id, s.at)
	if err != nil {
		t.Fatalf("restore of group %d: %v", id, err)
	}
	for i, chunk := range s.chunks {
		mine := bytes.Clone(chunk)
		if err := r.Write(mine); err != nil {
			t.Fatalf("write of chunk %d: %v", i, err)
		}
		clear(mine) // the chunk remains the caller's
	}
	return r
}

func (s taken) restore(t testing.TB, store engine.Store, id pinetree.GroupID) {
	t.Helper()
	r := s.begin(t, store, id)
	if err := r.Commit(); err != nil {
		t.Fatalf("commit of group %d: %v", id, err)
	}
	if err := r.Close(); err != nil {
		t.Fatalf("close after the commit: %v", err)
	}
}

// restored is the position that a restore leads to.
func (s taken) restored() pinetree.Position {
	at := s.at.Clone()
	at.Restored = at.Index
	return at
}

// history is a backend's group and a model that has replayed the same.
type history struct {
	*workload
	t           testing.TB
	real, model engine.Engine
	random      *rand.Rand
}

func newHistory(t testing.TB, b Backend, real engine.Engine, seed uint64) *history {
	return &history{workload: b.workload(t, seed), t: t, real: real, model: memory(t), random: rand.New(rand.NewPCG(seed, 3))}
}

func (h *history) run(writes int) {
	h.t.Helper()
	for range writes {
		write := h.next()
		apply(h.t, h.real, write)
		apply(h.t, h.model, write)
	}
}

// big adds a write whose snapshot takes several chunks.
func (h *history) big() {
	h.t.Helper()
	if _, ok := h.position.Volumes[1]; !ok {
		h.create(1, pinetree.FormatOpaque, 0)
	}
	at := h.position.Volumes[1].LSN
	h.batch(1, record{at + 5, h.fill(1 << 20)}, record{at + 6, h.fill(1 << 20)})
	h.batch(1, record{at + 7, make([]byte, 700<<10)})
	write := h.write()
	apply(h.t, h.real, write)
	apply(h.t, h.model, write)
}

// check compares an engine with the model.
func (h *history) check(e engine.Engine) {
	h.t.Helper()
	compareDigests(h.t, h.random, e, h.model)
	compareReads(h.t, h.random, e, h.model, 300)
}

// testSnapshot takes a group's state to a store that does not have it, and lets
// the history go on there.
func testSnapshot(t *testing.T, b Backend) {
	from, to := newBench(t, b), newBench(t, b)
	source := newHistory(t, b, from.create(1), 31)
	empty := take(t, from.store, 1)
	source.run(60)
	source.keeps = true // so that there is much to send
	source.big()
	source.run(60)
	snapshot := take(t, from.store, 1)
	if len(snapshot.chunks) < 3 {
		t.Fatalf("the snapshot has %d chunks, the test wants more", len(snapshot.chunks))
	}
	wantPosition(t, source.real, snapshot.at)
	empty.restore(t, to.store, 1)
	wantPosition(t, to.engine(1), empty.restored())
	before := to.engine(1)
	for round := range 3 {
		snapshot.restore(t, to.store, pinetree.GroupID(round+1))
		wantPosition(t, to.engine(pinetree.GroupID(round+1)), snapshot.restored())
		if got := to.engine(pinetree.GroupID(round + 1)).Flushed().Index; got != snapshot.at.Index {
			t.Fatalf("flushed after the commit: %d, want %d", got, snapshot.at.Index)
		}
		source.check(to.engine(pinetree.GroupID(round + 1)))
	}
	if to.engine(1) != before {
		t.Fatal("a restore made another engine of a group that was open")
	}
	source.check(before)
	wantGroups(to, 1, 2, 3)
	to.reopen()
	wantPosition(t, to.engine(2), snapshot.restored())
	source.check(to.engine(2))

	// The history goes on from the snapshot; what is restored once more came
	// from a restored state.
	source.position.Restored = snapshot.at.Index
	source.real = to.engine(2)
	source.run(40)
	take(t, to.store, 2).restore(t, from.store, 1)
	source.check(from.engine(1))
	source.check(to.engine(2))
	flush(t, to.engine(2))
	to.reopen()
	wantPosition(t, to.engine(2), source.model.Position())
	_, err := from.store.Snapshot(99)
	wantError(t, "snapshot of a group that is not there", err, pinetree.ErrUnknownGroup)
}

// testSnapshotIsOneState applies between the chunks of a snapshot.
func testSnapshotIsOneState(t *testing.T, b Backend) {
	x := newBench(t, b)
	source, then := newHistory(t, b, x.create(1), 32), newHistory(t, b, memory(t), 32)
	source.keeps, then.keeps = true, true // so that there is much to send
	source.run(30)
	source.big()
	source.run(30)
	then.run(30)
	then.big()
	then.run(30)
	snapshot := takeMeanwhile(t, x.store, 1, func() { source.run(10) })
	if source.real.Position().Index < snapshot.at.Index+30 {
		t.Fatal("nothing was applied meanwhile")
	}
	snapshot.restore(t, x.store, 2)
	wantPosition(t, x.engine(2), snapshot.restored())
	then.check(x.engine(2))
	source.check(x.engine(1))
	stop := errors.New("enough")
	open, err := x.store.Snapshot(1)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	if err := open.Chunks(func([]byte) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Fatalf("chunks: %v after %d calls, want fn's error after one", err, calls)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
}

// testRestoreOverMore replaces a state that has more volumes, keys and log than
// the new one, of which nothing must show.
func testRestoreOverMore(t *testing.T, b Backend) {
	from, to := newBench(t, b), newBench(t, b)
	source, other := newHistory(t, b, from.create(1), 33), newHistory(t, b, to.create(1), 34)
	source.run(25)
	other.run(200)
	other.create(77, pinetree.FormatOpaque, 0)
	other.batch(77, record{5, []byte("only here")})
	write := other.write()
	apply(t, other.real, write)
	apply(t, other.model, write)
	only, old := volume(t, other.real, 77), volume(t, other.real, 2)
	snapshot := take(t, from.store, 1)
	r := snapshot.begin(t, to.store, 1)
	other.check(other.real) // nothing is visible before
	wantLog(t, only, 0, 5)
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	source.check(other.real)
	_, err := other.real.Volume(77)
	wantError(t, "volume that the new state does not have", err, pinetree.ErrUnknownVolume)
	for _, r := range []engine.Reader{only, old} { // each shows a state or fails
		end := r.Position().Base
		if err := r.Log(0, func(b pinetree.Batch) error { end = b.LSN; return nil }); err == nil && end != r.Position().LSN {
			t.Fatalf("a reader from before shows the log up to %s and says %s", end, r.Position().LSN)
		}
	}
	to.reopen()
	wantPosition(t, to.engine(1), snapshot.restored())
	source.check(to.engine(1))
	source.position.Restored = snapshot.at.Index
	source.real = to.engine(1)
	source.run(20)
	source.check(to.engine(1))
}
