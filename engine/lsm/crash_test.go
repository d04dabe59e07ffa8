package lsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	badger "github.com/pinetree-db/pinetree/engine/badgerengine/database"
	"github.com/pinetree-db/pinetree/engine/lsm/drops"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

func openGroup(t testing.TB, s *Store) *group {
	t.Helper()
	if err := s.Create(1, pinetree.Position{}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	return e.(*group)
}

func flush(t testing.TB, g *group) {
	t.Helper()
	if _, err := g.Flush(); err != nil {
		t.Fatal(err)
	}
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// bigWrite is one write that takes several transactions: two opaque batches
// per index, of 1 MiB each, and a third volume's small one.
func bigWrite(t testing.TB, index pinetree.RaftIndex, from, to pinetree.LSN) engine.Write {
	t.Helper()
	w := engine.Write{Position: pinetree.Position{Index: index, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{}}}
	for lsn := from; lsn < to; lsn++ {
		for volume := pinetree.VolumeID(1); volume <= 2; volume++ {
			b, err := storepb.EncodeBatch(volume, 1, []pinetree.Record{{Prev: lsn, LSN: lsn + 1, Payload: make([]byte, 1<<20)}})
			if err != nil {
				t.Fatal(err)
			}
			w.Batches = append(w.Batches, b)
			w.Position.Volumes[volume] = pinetree.VolumePosition{LSN: to, Format: pinetree.FormatOpaque}
		}
	}
	return w
}

func logEnd(t testing.TB, g *group, id pinetree.VolumeID) (end pinetree.LSN) {
	t.Helper()
	r, err := g.Volume(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Log(0, func(b pinetree.Batch) error { end = b.LSN; return nil }); err != nil {
		t.Fatal(err)
	}
	return end
}

// TestCrashBetweenTheTransactionsOfAWrite stops after each of the transactions
// that a large write takes, as a crash would, and opens what is left.
func TestCrashBetweenTheTransactionsOfAWrite(t *testing.T) {
	onEach(t, testCrashBetweenTheTransactionsOfAWrite)
}

func testCrashBetweenTheTransactionsOfAWrite(t *testing.T, k kind) {
	for stop := 0; ; stop++ {
		dir := t.TempDir()
		s := k.open(t, dir)
		g := openGroup(t, s)
		if err := g.Apply(bigWrite(t, 1, 0, 1)); err != nil {
			t.Fatal(err)
		}
		flush(t, g)
		write := bigWrite(t, 2, 1, 5)
		prepared, err := g.prepare(write)
		if err != nil {
			t.Fatal(err)
		}
		runs := prepared.runs
		if len(runs) < 4 {
			t.Fatalf("the write takes %d transactions, the test wants more", len(runs))
		}
		for _, run := range runs[:stop] {
			if err := s.commit(run); err != nil {
				t.Fatal(err)
			}
		}
		if end := logEnd(t, g, 1); end != 1 {
			t.Fatalf("after %d of %d transactions a reader sees the log up to %s, want 0/1", stop, len(runs), end)
		}
		closeStore(t, s)

		g = openGroup(t, k.open(t, dir))
		if g.Position().Volumes[1].LSN != 1 || logEnd(t, g, 1) != 1 || logEnd(t, g, 2) != 1 {
			t.Fatalf("after %d of %d transactions and a restart: position %v, logs end at %s and %s, want 0/1",
				stop, len(runs), g.Position(), logEnd(t, g, 1), logEnd(t, g, 2))
		}
		// Recovery applies the same entries again, perhaps in smaller writes.
		for i := range pinetree.LSN(4) {
			if err := g.Apply(bigWrite(t, pinetree.RaftIndex(2+i), 1+i, 2+i)); err != nil {
				t.Fatal(err)
			}
		}
		if logEnd(t, g, 1) != 5 || logEnd(t, g, 2) != 5 {
			t.Fatalf("after the replay the logs end at %s and %s, want 0/5", logEnd(t, g, 1), logEnd(t, g, 2))
		}
		if stop == len(runs) {
			return
		}
	}
}

func TestRemovalGoesOnAfterACrash(t *testing.T) { onEach(t, testRemovalGoesOnAfterACrash) }

func testRemovalGoesOnAfterACrash(t *testing.T, k kind) {
	dir := t.TempDir()
	s := k.open(t, dir)
	g := openGroup(t, s)
	if err := g.Apply(bigWrite(t, 1, 0, 2)); err != nil {
		t.Fatal(err)
	}
	removeAndStop(t, s)
	closeStore(t, s)
	s = k.open(t, dir)
	if ids, err := s.Groups(); err != nil || len(ids) != 0 {
		t.Fatalf("groups %v, %v, want none", ids, err)
	}
	wantNothing(t, s)
}

// removeAndStop does of a removal what is done when Remove returns, and no more.
func removeAndStop(t *testing.T, s *Store) {
	t.Helper()
	used, err := s.state(1)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := s.removal(1, used)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.commit(entries); err != nil {
		t.Fatal(err)
	}
}

// wantNothing waits until the dropper is done, and looks at what is left.
func wantNothing(t *testing.T, s *Store) {
	t.Helper()
	wantDropped(t, s)
	for _, kind := range []byte{layout.DataKey, layout.PositionKey} {
		if left, err := drops.Deletions(s.db, []byte{kind}); err != nil || len(left) != 0 {
			t.Fatalf("%d keys %c are left, %v", len(left), kind, err)
		}
	}
}

// wantDropped waits until each generation that has data is one that is used.
func wantDropped(t *testing.T, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		left, err := drops.Deletions(s.db, []byte{layout.DropKey})
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d generations are still to be dropped", len(left))
		}
	}
	all, err := drops.Deletions(s.db, []byte{layout.DataKey})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		id := pinetree.GroupID(binary.BigEndian.Uint64(e.Key[1:]))
		used, err := s.state(id)
		if err != nil {
			t.Fatal(err)
		}
		if used == nil || !bytes.HasPrefix(e.Key, layout.GenerationKey(layout.DataKey, id, used.generation)) {
			t.Fatalf("key %x is left of a generation that is not used", e.Key)
		}
	}
}

// TestARemovalThatFailedDoesNotGoOnWithTheNextGroup creates the group again
// before its data are gone.
func TestARemovalThatFailedDoesNotGoOnWithTheNextGroup(t *testing.T) {
	onEach(t, testARemovalThatFailedDoesNotGoOnWithTheNextGroup)
}

func testARemovalThatFailedDoesNotGoOnWithTheNextGroup(t *testing.T, k kind) {
	dir := t.TempDir()
	s := k.open(t, dir)
	if err := openGroup(t, s).Apply(bigWrite(t, 1, 0, 3)); err != nil {
		t.Fatal(err)
	}
	removeAndStop(t, s)
	s.mu.Lock()
	delete(s.groups, 1)
	s.mu.Unlock()
	g := openGroup(t, s)
	if err := g.Apply(bigWrite(t, 1, 0, 2)); err != nil {
		t.Fatal(err)
	}
	flush(t, g)
	closeStore(t, s)
	s = k.open(t, dir)
	if end := logEnd(t, openGroup(t, s), 1); end != 2 {
		t.Fatalf("the new group's log ends at %s, want 0/2", end)
	}
	if err := s.Remove(1); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, s)
}

func TestFilesThatAKillLeftEmptyDoNotKeepTheStoreShut(t *testing.T) {
	dir := t.TempDir()
	s := onBadger.open(t, dir)
	g := openGroup(t, s)
	if err := g.Apply(bigWrite(t, 1, 0, 2)); err != nil {
		t.Fatal(err)
	}
	flush(t, g)
	closeStore(t, s)
	for _, name := range []string{"00077.mem", "000077.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if end := logEnd(t, openGroup(t, onBadger.open(t, dir)), 1); end != 2 {
		t.Fatalf("the log ends at %s, want 0/2", end)
	}
}

func TestADirectoryIsOpenOnce(t *testing.T) { onEach(t, testADirectoryIsOpenOnce) }

func testADirectoryIsOpenOnce(t *testing.T, k kind) {
	dir := t.TempDir()
	s := k.open(t, dir)
	if second, err := k.tryOpen(dir); err == nil {
		_ = second.Close()
		t.Fatal("the directory was opened twice")
	}
	if err := openGroup(t, s).Apply(bigWrite(t, 1, 0, 1)); err != nil {
		t.Fatalf("the attempt broke the first store: %v", err)
	}
}

func TestAnotherFormatIsRefused(t *testing.T) { onEach(t, testAnotherFormatIsRefused) }

func testAnotherFormatIsRefused(t *testing.T, k kind) {
	dir := t.TempDir()
	s := k.open(t, dir)
	entries, err := layout.AppendValue(nil, []byte{layout.FormatKey}, []byte{formatVersion + 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.commit(entries); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if s, err := k.tryOpen(dir); !errors.Is(err, pinetree.ErrCorrupt) {
		t.Fatalf("opened %v, %v, want ErrCorrupt", s, err)
	}
}

func TestAfterAnErrorOfBadgersNothingIsWritten(t *testing.T) {
	for name, spoil := range map[string]func(*Store){
		"a commit fails":          func(s *Store) { _ = s.commit([]entry{{Key: []byte("!badger!a key it keeps to itself")}}) },
		"badger reports an error": func(s *Store) { s.db.(*badger.DB).Fail(errors.New("disk says no")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := onBadger.open(t, t.TempDir())
			g := openGroup(t, s)
			if err := g.Apply(bigWrite(t, 1, 0, 1)); err != nil {
				t.Fatal(err)
			}
			spoil(s)
			first := g.Apply(bigWrite(t, 2, 1, 2))
			if first == nil {
				t.Fatal("a write went through")
			}
			if again := g.Apply(bigWrite(t, 2, 1, 2)); again == nil || again.Error() != first.Error() {
				t.Fatalf("the second write: %v, want the first one's error: %v", again, first)
			}
			if err := s.Create(2, pinetree.Position{}); err == nil {
				t.Fatal("a group was created")
			}
			if g.Position().Index != 1 {
				t.Fatalf("position %d, want 1", g.Position().Index)
			}
		})
	}
}

func TestAfterCloseEverythingIsRefused(t *testing.T) { onEach(t, testAfterCloseEverythingIsRefused) }

func testAfterCloseEverythingIsRefused(t *testing.T, k kind) {
	s := k.open(t, t.TempDir())
	g := openGroup(t, s)
	if err := g.Apply(bigWrite(t, 1, 0, 1)); err != nil {
		t.Fatal(err)
	}
	r, err := g.Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	_, page := r.Page(1, 0)
	_, key := r.Get(nil, 0)
	_, list := r.Range(engine.RangeSpec{})
	_, open := s.Open(1)
	_, groups := s.Groups()
	for what, err := range map[string]error{
		"page": page, "key": key, "range": list, "open": open, "groups": groups,
		"log":   r.Log(0, func(pinetree.Batch) error { return nil }),
		"apply": g.Apply(bigWrite(t, 2, 1, 2)), "create": s.Create(2, pinetree.Position{}), "remove": s.Remove(1),
	} {
		if !errors.Is(err, pinetree.ErrStopped) {
			t.Errorf("%s after close: %v, want ErrStopped", what, err)
		}
	}
}
