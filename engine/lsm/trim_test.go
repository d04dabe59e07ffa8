package lsm

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// aged applies records that set and delete key k in turn, set key once only in the
// first one, and patch page 1, which has an image in every tenth.
func aged(t *testing.T, g *group, records int) pinetree.VolumePosition {
	t.Helper()
	return more(t, g, pinetree.VolumePosition{Format: pinetree.FormatRedo}, records)
}

// more goes on from a position.
func more(t *testing.T, g *group, at pinetree.VolumePosition, records int) pinetree.VolumePosition {
	t.Helper()
	for end := at.LSN + pinetree.LSN(records); at.LSN < end; {
		lsn := at.LSN + 1
		redo := &storepb.Redo{Ops: []*storepb.RedoOp{
			{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: 1, Offset: uint32(lsn % 50), Bytes: []byte{byte(lsn)}}}},
			{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte("k"), Value: fmt.Append(nil, lsn)}}},
		}}
		if lsn%10 == 0 {
			redo.Ops[0] = &storepb.RedoOp{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: 1, Image: fmt.Append(nil, "image", lsn)}}}
			redo.Ops[1] = &storepb.RedoOp{Op: &storepb.RedoOp_KeyDelete{KeyDelete: &storepb.KeyDelete{Key: []byte("k")}}}
		}
		if lsn == 1 {
			redo.Ops = append(redo.Ops, &storepb.RedoOp{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte("once"), Value: []byte("1")}}})
		}
		payload, err := proto.Marshal(redo)
		if err != nil {
			t.Fatal(err)
		}
		b, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{Prev: lsn - 1, LSN: lsn, Payload: payload}})
		if err != nil {
			t.Fatal(err)
		}
		at.LSN = lsn
		move(t, g, at, b)
	}
	return at
}

// move applies a write of one volume.
func move(t *testing.T, g *group, at pinetree.VolumePosition, batches ...pinetree.Batch) {
	t.Helper()
	err := g.Apply(engine.Write{Batches: batches, Position: pinetree.Position{
		Index: g.Position().Index + 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: at},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// versions lists what there is of a volume: batches, versions of page 1 and of the
// keys, each by its LSN, the newest first but for the log.
func versions(t *testing.T, g *group) (logs, pages, keys []pinetree.LSN) {
	t.Helper()
	prefix := layout.GenerationKey(layout.DataKey, g.id, g.state.Load().generation)
	err := g.store.db.Scan(prefix, func(it sorted.Iterator) error {
		for it.Seek(nil); it.Valid(); it.Next() {
			at, err := layout.ParseDataKey(it.Key()[len(prefix):])
			if err != nil {
				return err
			}
			switch at.Kind {
			case layout.LogKind:
				logs = append(logs, at.LSN)
			case layout.PageKind:
				pages = append(pages, at.LSN)
			case layout.KeyKind:
				keys = append(keys, at.LSN)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return logs, pages, keys
}

// imageBefore is the newest image of page 1 at or below an LSN.
func imageBefore(lsn pinetree.LSN) pinetree.LSN {
	for ; lsn%10 != 0 && !layout.IsConsolidated(1, lsn, 1); lsn-- {
	}
	return lsn
}

// wantTrimmed waits until what there is begins with these: the first batch, and the
// oldest versions of the page and of the keys k and once.
func wantTrimmed(t *testing.T, g *group, first, page, k pinetree.LSN) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		logs, pages, keys := versions(t, g)
		if logs[0] == first && pages[len(pages)-1] == page && keys[len(keys)-2] == k && keys[len(keys)-1] == 1 {
			return
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("the log begins with %v, the page with %v, the keys with %v; want %v, %v, %v and the one set once", logs[0], pages[len(pages)-1], keys[len(keys)-2:], first, page, k)
		}
	}
}

func TestWhatIsTruncatedIsRemoved(t *testing.T) { onEach(t, testWhatIsTruncatedIsRemoved) }

func testWhatIsTruncatedIsRemoved(t *testing.T, k kind) {
	dir := t.TempDir()
	s := k.open(t, dir)
	g := openGroup(t, s)
	at := aged(t, g, 60)
	at.Truncated = 25
	move(t, g, at)
	if logs, _, _ := versions(t, g); logs[0] != 1 {
		t.Fatalf("the log begins with %v before the truncation is flushed", logs[0])
	}
	flush(t, g)
	wantTrimmed(t, g, 26, imageBefore(25), 25)
	at.Truncated = 30 // where k is deleted
	move(t, g, at)
	flush(t, g)
	wantTrimmed(t, g, 31, 30, 31)

	// While a snapshot is open nothing goes, and afterwards it does.
	snapshot, err := s.Snapshot(1)
	if err != nil {
		t.Fatal(err)
	}
	at.Truncated = 47
	move(t, g, at)
	flush(t, g)
	s.dropper.kick()
	time.Sleep(20 * time.Millisecond)
	wantTrimmed(t, g, 31, 30, 31)
	if err := snapshot.Chunks(func([]byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := snapshot.Close(); err != nil {
		t.Fatal(err)
	}
	wantTrimmed(t, g, 48, imageBefore(47), 47)
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
}

// TestTrimmingGoesOnAfterACrash stops between the removal of versions and that of the
// log that tells of them.
func TestTrimmingGoesOnAfterACrash(t *testing.T) { onEach(t, testTrimmingGoesOnAfterACrash) }

func testTrimmingGoesOnAfterACrash(t *testing.T, k kind) {
	dir := t.TempDir()
	s := k.open(t, dir)
	s.dropper.end()
	g := openGroup(t, s)
	at := aged(t, g, 60)
	at.Truncated = 30
	move(t, g, at)
	flush(t, g)
	v := view{store: s, keys: layout.KeysOf(1, g.state.Load().generation, 1), position: at, at: at.Truncated}
	step, err := v.beginning(0)
	if err != nil || step.end != 30 {
		t.Fatalf("a step up to %s, %v", step.end, err)
	}
	delete(step.changed.Keys, "k") // as if it had come no further
	if err := v.removeVersions(step); err != nil {
		t.Fatal(err)
	}
	if logs, pages, _ := versions(t, g); logs[0] != 1 || pages[len(pages)-1] != 30 {
		t.Fatalf("the log begins with %v, the page with %v", logs[0], pages[len(pages)-1])
	}
	closeStore(t, s)
	s = k.open(t, dir)
	g = openGroup(t, s)
	wantTrimmed(t, g, 31, 30, 31)
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
}

// interrupted is a database that calls a function before it looks for something.
type interrupted struct {
	sorted.Database
	before func()
}

// Scan implements sorted.Database.
func (d *interrupted) Scan(prefix []byte, fn func(sorted.Iterator) error) error {
	if do := d.before; do != nil {
		d.before = nil
		do()
	}
	return d.Database.Scan(prefix, fn)
}

// TestAReadThatIsOvertakenByTrimmingSaysSo truncates, and waits until all of it is
// gone, after each read has settled what it sees and before it looks.
func TestAReadThatIsOvertakenByTrimmingSaysSo(t *testing.T) {
	for name, read := range map[string]func(r engine.Reader, at pinetree.LSN) (string, error){
		"page": func(r engine.Reader, at pinetree.LSN) (string, error) {
			read, err := r.Page(1, at)
			return string(read.Page[:min(5, len(read.Page))]), err
		},
		"key": func(r engine.Reader, at pinetree.LSN) (string, error) {
			read, err := r.Get([]byte("k"), at)
			return string(read.Value), err
		},
		"range": func(r engine.Reader, at pinetree.LSN) (string, error) {
			read, err := r.Range(engine.RangeSpec{Limit: 5, At: at})
			if err != nil || len(read.Items) == 0 {
				return "", err
			}
			return string(read.Items[0].Value), err
		},
		"log": func(r engine.Reader, at pinetree.LSN) (string, error) {
			return "", r.Log(at, func(pinetree.Batch) error { return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			below, err := onPebble.small(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			db := &interrupted{Database: below}
			s, err := Open(db)
			if err != nil {
				t.Fatal(err)
			}
			defer closeStore(t, s)
			g := openGroup(t, s)
			s.dropper.end() // the test trims by itself
			at := aged(t, g, 55)
			r, err := g.Volume(1)
			if err != nil {
				t.Fatal(err)
			}
			db.before = func() {
				at.Truncated = 45
				move(t, g, at)
				flush(t, g)
				if _, _, err := s.trimSome(); err != nil && !errors.Is(err, pinetree.ErrStopped) {
					t.Error(err)
				}
			}
			if got, err := read(r, 33); !errors.Is(err, pinetree.ErrTruncated) {
				t.Fatalf("at 0/21: %q, %v, want ErrTruncated", got, err)
			}
			if logs, _, _ := versions(t, g); logs[0] != 46 {
				t.Fatalf("the log begins with %v, so nothing was overtaken", logs[0])
			}
		})
	}
}

// TestTheNewestStateIsReadThoughItIsOvertaken lets the volume grow and be truncated
// above the state that a read has settled on.
func TestTheNewestStateIsReadThoughItIsOvertaken(t *testing.T) {
	below, err := onPebble.small(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	db := &interrupted{Database: below}
	s, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	g := openGroup(t, s)
	s.dropper.end()
	aged(t, g, 5)
	r, err := g.Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, read := range []func() (pinetree.LSN, error){
		func() (pinetree.LSN, error) { read, err := r.Page(1, 0); return read.At, err },
		func() (pinetree.LSN, error) { read, err := r.Get([]byte("k"), 0); return read.At, err },
		func() (pinetree.LSN, error) { read, err := r.Range(engine.RangeSpec{Limit: 5}); return read.At, err },
	} {
		at, times := g.Position().Volumes[1], 0
		var overtake func()
		overtake = func() {
			at = more(t, g, at, 8)
			at.Truncated = at.LSN - 1
			move(t, g, at)
			if times++; times < 3 {
				db.before = overtake
			}
		}
		db.before = overtake
		if seen, err := read(); err != nil || seen != at.LSN {
			t.Fatalf("the newest state: at %s, %v, want %s", seen, err, at.LSN)
		}
	}
}

// TestADeletedKeyIsNotSeenAgainWhileItIsTrimmed reads keys all the while that their
// versions are removed, the one that says that they are not set among them.
func TestADeletedKeyIsNotSeenAgainWhileItIsTrimmed(t *testing.T) {
	onEach(t, testADeletedKeyIsNotSeenAgainWhileItIsTrimmed)
}

func testADeletedKeyIsNotSeenAgainWhileItIsTrimmed(t *testing.T, k kind) {
	const keys, rounds = 300, 12
	g := openGroup(t, k.open(t, t.TempDir()))
	at := pinetree.VolumePosition{Format: pinetree.FormatRedo}
	record := func(op func(key []byte) *storepb.RedoOp) pinetree.Batch {
		redo := &storepb.Redo{}
		for n := range keys {
			redo.Ops = append(redo.Ops, op(fmt.Appendf(nil, "k%d", n)))
		}
		payload, err := proto.Marshal(redo)
		if err != nil {
			t.Fatal(err)
		}
		at.LSN++
		b, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{Prev: at.LSN - 1, LSN: at.LSN, Payload: payload}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for range rounds {
		for range 2 {
			move(t, g, at, record(func(key []byte) *storepb.RedoOp {
				return &storepb.RedoOp{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: key, Value: key}}}
			}))
		}
		last := record(func(key []byte) *storepb.RedoOp {
			return &storepb.RedoOp{Op: &storepb.RedoOp_KeyDelete{KeyDelete: &storepb.KeyDelete{Key: key}}}
		})
		at.Truncated = at.LSN
		move(t, g, at, last)
		r, err := g.Volume(1)
		if err != nil {
			t.Fatal(err)
		}
		flush(t, g)
		for start, left := time.Now(), 1; left > 0; {
			if time.Since(start) > 10*time.Second {
				t.Fatalf("%d batches and versions are still there", left)
			}
			seen, err := r.Range(engine.RangeSpec{Limit: keys})
			if err != nil || len(seen.Items) > 0 {
				t.Fatalf("%d keys that were deleted are there, the first is %+v, %v", len(seen.Items), seen.Items[:min(1, len(seen.Items))], err)
			}
			logs, _, versions := versions(t, g)
			left = len(logs) + len(versions)
		}
	}
}
