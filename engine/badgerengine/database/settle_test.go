package database

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

func TestSettlingMustGiveBackAQuarterOfWhatItCosts(t *testing.T) {
	const mb = 1 << 20
	table := func(level, keys, size int) badger.TableInfo {
		return badger.TableInfo{Level: level, KeyCount: uint32(keys), UncompressedSize: uint32(size)}
	}
	for _, c := range []struct {
		name   string
		tables []badger.TableInfo
		want   bool
	}{
		{"nothing", nil, false},
		{"one level", []badger.TableInfo{table(6, 1000, 100*mb)}, false},
		{"level zero alone", []badger.TableInfo{table(0, 1000, 8*mb)}, true},
		{"a usual shape", []badger.TableInfo{table(0, 50, 5*mb), table(5, 100, 10*mb), table(6, 1000, 100*mb)}, false},
		{"many small keys above", []badger.TableInfo{table(0, 150, mb), table(5, 100, mb), table(6, 500, 50*mb), table(6, 500, 50*mb)}, true},
		{"just too few", []badger.TableInfo{table(0, 249, mb), table(6, 1000, 100*mb)}, false},
	} {
		if got := worthSettling(c.tables); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	now := time.Now()
	last := settling{ended: now, took: time.Second}
	if last.due(now.Add(settleRest*time.Second-1)) || !last.due(now.Add(settleRest*time.Second)) || !(settling{}).due(now) {
		t.Error("settling comes again too early or too late")
	}
}

// fill commits values under numbers from first on and below end.
func fill(t *testing.T, d *DB, first, end uint32, size int) {
	t.Helper()
	value := make([]byte, size)
	var run []sorted.Entry
	for n := first; n < end; n++ {
		run = append(run, sorted.Entry{Key: binary.BigEndian.AppendUint32([]byte("k"), n), Value: value})
		if len(run)*size >= 1<<20 || n+1 == end {
			if err := d.Commit(sorted.Change{Entries: run}); err != nil {
				t.Fatal(err)
			}
			run = nil
		}
	}
}

func number(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte("k"), n) }

// keys counts those of fill.
func keys(t *testing.T, d *DB) (n int) {
	t.Helper()
	err := d.Scan([]byte("k"), func(it sorted.Iterator) error {
		for it.Seek(nil); it.Valid(); it.Next() {
			n++
			if err := it.Value(func(value []byte) error {
				if len(value) == 0 {
					return errors.New("a value is empty")
				}
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestACutMakesATableAndClosesAFile also fails when badger keeps its limits
// elsewhere.
func TestACutMakesATableAndClosesAFile(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	usual := *d.hidden.maxValues
	for i, size := range []int{100, 1 << 10, 17 << 10} { // a thousand of the last are enough for a file
		before, logs := d.badger.Tables(), valueLogs(t, dir)
		fill(t, d, 0, 1000, size)
		if err := d.cut(noPause); err != nil {
			t.Fatal(err)
		}
		if tables := d.badger.Tables(); len(tables) != len(before)+1 {
			t.Fatalf("%d tables, %d before the cut", len(tables), len(before))
		}
		if closed := valueLogs(t, dir) - logs; closed != i/2 {
			t.Fatalf("with values of %d bytes %d files of the value log were closed", size, closed)
		}
		limit, err := memTableLimit(d.badger)
		if err != nil || *limit != MinMemTableBytes || *d.hidden.maxValues != usual {
			t.Fatalf("the limits are %d and %d, %v", *limit, *d.hidden.maxValues, err)
		}
		if n := keys(t, d); n != 1000 {
			t.Fatalf("%d keys", n)
		}
	}
	if err := d.cut(func() error { return errNo }); err != errNo {
		t.Fatalf("a cut that was called off: %v", err)
	}
}

var errNo = errors.New("no")

// TestDeletionsGiveBackSpaceWithoutNewWrites deletes most of what is in the tables
// and nothing of the value log.
func TestDeletionsGiveBackSpaceWithoutNewWrites(t *testing.T) {
	for _, total := range []uint32{5_000, 40_000} { // in level zero alone, and in deeper ones
		d := open(t, t.TempDir())
		fill(t, d, 0, total, 500)
		if err := d.cut(noPause); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			var err error
			if more, err = d.DeleteRange(number(0), number(total/10*9)); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Reclaim(true, noPause); err != nil {
			t.Fatal(err)
		}
		left := uint32(0)
		for _, table := range d.badger.Tables() {
			left += table.KeyCount
		}
		if left > total/10+10 {
			t.Errorf("%d of %d keys were deleted, %d are in the tables", total/10*9, total, left)
		}
		if n := keys(t, d); n != int(total/10) {
			t.Errorf("%d keys are read, want %d", n, total/10)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSettlingEndsWhenItIsCalledOff also fails when badger no longer tells the logger
// of each step.
func TestSettlingEndsWhenItIsCalledOff(t *testing.T) {
	d := open(t, t.TempDir())
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	fill(t, d, 0, 20_000, 500)
	if err := errors.Join(d.cut(noPause), d.settle(noPause)); err != nil {
		t.Fatal(err)
	}
	fill(t, d, 0, 20_000, 500)
	if err := d.cut(noPause); err != nil {
		t.Fatal(err)
	}
	pauses := 0
	if err := d.flatten(func() error { pauses++; return errNo }, 100); err != errNo || pauses != 1 || levels(d) != 2 {
		t.Fatalf("called off: %v after %d pauses, %d levels", err, pauses, levels(d))
	}
	if err := d.flatten(noPause, 0); err != nil || levels(d) != 2 {
		t.Fatalf("without a step: %v, %d levels", err, levels(d))
	}
	if err := d.flatten(noPause, 100); err != nil || levels(d) != 1 {
		t.Fatalf("with as many as it takes: %v, %d levels", err, levels(d))
	}
	fill(t, d, 0, 20_001, 500)
	if n := keys(t, d); n != 20_001 {
		t.Errorf("%d keys are read", n)
	}
}

// levels counts those that have tables.
func levels(d *DB) int {
	seen := map[int]bool{}
	for _, table := range d.badger.Tables() {
		seen[table.Level] = true
	}
	return len(seen)
}

// TestSettlingEndsBesideWrites fills a memtable while it rests: whoever waits for it
// has other work to do then.
func TestSettlingEndsBesideWrites(t *testing.T) {
	d := open(t, t.TempDir())
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	settle := func(pause func() error) {
		t.Helper()
		fill(t, d, 0, 20_000, 500)
		if err := errors.Join(d.cut(noPause), d.settle(pause)); err != nil {
			t.Fatal(err)
		}
	}
	settle(noPause)
	if n := levels(d); n != 1 {
		t.Fatalf("beside nothing: %d levels", n)
	}
	pauses := 0
	settle(func() error {
		pauses++
		fill(t, d, 0, MinMemTableBytes/400, 500)
		return nil
	})
	if n := levels(d); n != 2 || pauses != 1 {
		t.Errorf("%d levels after %d pauses, want no step after the one that filled a memtable", n, pauses)
	}
}

// TestDeletedValuesComeBackBesideManyKeys deletes few keys with large values, beside
// many others.
func TestDeletedValuesComeBackBesideManyKeys(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	fill(t, d, 0, 20_000, 500)
	if err := errors.Join(d.cut(noPause), d.settle(noPause)); err != nil {
		t.Fatal(err)
	}
	d.settled = settling{}
	fill(t, d, 20_000, 20_150, 1<<20)
	before := valueLogs(t, dir)
	if _, err := d.DeleteRange(number(20_000), number(20_150)); err != nil {
		t.Fatal(err)
	}
	if gone := d.deleted.of(0).log; gone < 150<<20-150*100 || gone > 150<<20+150*100 {
		t.Fatalf("%d bytes are counted, 150 MiB were deleted", gone)
	}
	if err := d.Reclaim(true, noPause); err != nil {
		t.Fatal(err)
	}
	if after := valueLogs(t, dir); before < 3 || after > 1 {
		t.Errorf("%d files are left of %d, want the one that is written to", after, before)
	}
}
