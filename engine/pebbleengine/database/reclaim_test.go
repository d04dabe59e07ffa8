package database

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

func number(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte("k"), n) }

// TestDeletionsGiveBackSpaceWithoutNewWrites deletes most keys, one by one and by
// range.
func TestDeletionsGiveBackSpaceWithoutNewWrites(t *testing.T) {
	for _, byRange := range []bool{false, true} {
		d, err := Open(Options{Dir: "db", FS: vfs.NewMem(), MemTableBytes: 2 << 20, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		const total, run = uint32(30_000), 1000
		for n := uint32(0); n < total; n += run {
			var entries []sorted.Entry
			for i := n; i < n+run; i++ {
				entries = append(entries, sorted.Entry{Key: number(i * 7919 % total), Value: make([]byte, 500)})
			}
			if err := d.Commit(sorted.Change{Entries: entries}); err != nil {
				t.Fatal(err)
			}
		}
		err = d.Reclaim(true, noPause)
		full := size(t, d)
		for n := uint32(0); n < total && err == nil && !byRange; n += run {
			var entries []sorted.Entry
			for i := n; i < n+run*9/10; i++ {
				entries = append(entries, sorted.Entry{Key: number(i), Remove: true})
			}
			err = d.Commit(sorted.Change{Entries: entries})
		}
		if byRange && err == nil {
			_, err = d.DeleteRange(number(0), number(total/10*9))
		}
		if err := errors.Join(err, d.Reclaim(true, noPause)); err != nil {
			t.Fatal(err)
		}
		if left := size(t, d); left > full/5 || left == 0 {
			t.Errorf("by range %v: the tables have %d bytes, %d before nine tenths were deleted", byRange, left, full)
		}
		keys := uint32(0)
		err = d.Scan([]byte("k"), func(it sorted.Iterator) error {
			for it.Seek(nil); it.Valid(); it.Next() {
				keys++
			}
			return nil
		})
		if err != nil || keys != total/10 {
			t.Errorf("%d keys are left, want %d, %v", keys, total/10, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReclaimingEndsBesideWrites writes a memtable's bytes while it waits: whoever
// called it has other work to do then. An error of the caller's ends it, too.
func TestReclaimingEndsBesideWrites(t *testing.T) {
	d, err := Open(Options{Dir: "db", FS: vfs.NewMem(), MemTableBytes: 2 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	fill := func(first, end uint32) error {
		for n := first; n < end; n += 1000 {
			var entries []sorted.Entry
			for i := n; i < n+1000; i++ {
				entries = append(entries, sorted.Entry{Key: number(i), Value: make([]byte, 1000)})
			}
			if err := d.Commit(sorted.Change{Entries: entries}); err != nil {
				return err
			}
		}
		return nil
	}
	err = errors.Join(fill(0, 40_000), d.Reclaim(true, noPause))
	var gone []sorted.Entry
	for n := range uint32(12_000) {
		gone = append(gone, sorted.Entry{Key: number(n * 3), Remove: true})
	}
	if err := errors.Join(err, d.Commit(sorted.Change{Entries: gone}), d.pebble.Flush()); err != nil {
		t.Fatal(err)
	}
	tables, err := d.tables(noPause)
	if err != nil || !worthCompacting(tables) || len(parts(tables)) < 2 {
		t.Fatalf("%d parts, worth it: %v, %v", len(parts(tables)), worthCompacting(tables), err)
	}
	no := errors.New("no")
	if err := d.Reclaim(false, func() error { return no }); !errors.Is(err, no) {
		t.Fatalf("called off: %v", err)
	}
	d.reclaimed = reclaiming{}
	pauses := 0
	err = d.Reclaim(false, func() error {
		pauses++
		return fill(200_000, 203_000)
	})
	if err != nil || pauses != 1 {
		t.Errorf("%d pauses after a memtable was written in the first, %v", pauses, err)
	}
	if err := errors.Join(fill(300_000, 301_000), d.Close()); err != nil {
		t.Fatal(err)
	}
}

func noPause() error { time.Sleep(time.Millisecond); return nil }

func size(t *testing.T, d *DB) (bytes uint64) {
	t.Helper()
	levels, err := d.tables(noPause)
	if err != nil {
		t.Fatal(err)
	}
	for _, tables := range levels {
		for _, table := range tables {
			bytes += table.Size
		}
	}
	return bytes
}

func TestOnlyMuchGarbageIsCompactedAndInParts(t *testing.T) {
	table := func(last string, mb, deletions, garbage uint64) (info pebble.SSTableInfo) {
		info.Largest.UserKey, info.Size = []byte(last), mb<<20
		info.TableStats.NumEntries, info.TableStats.NumDeletions = 100, deletions
		info.TableStats.PointDeletionsBytesEstimate = garbage << 20
		return info
	}
	type tables = []pebble.SSTableInfo
	for _, c := range []struct {
		levels []tables
		worth  bool
		want   string
	}{
		{nil, false, `["\x00"]`},
		{[]tables{{table("q", 1, 0, 0)}, {table("c", 16, 1, 6), table("e", 16, 0, 0), table("m", 10, 0, 0)}}, false, `["e" "q\x00"]`},
		{[]tables{{table("c", 40, 0, 0)}, {}, {table("m", 3, 1, 11)}, nil}, true, `["m\x00"]`},
		{[]tables{nil, {table("c", 1, 49, 0)}, {table("m", 9, 0, 0)}}, false, `["m\x00"]`},
		{[]tables{nil, {table("c", 1, 50, 0)}, {table("m", 9, 0, 0)}}, true, `["m\x00"]`},
		{[]tables{{table("c", 3, 1, 0)}, {table("m", 9, 0, 0)}}, true, `["m\x00"]`},
		{[]tables{{table("c", 2, 1, 0)}, {table("m", 9, 0, 0)}}, false, `["m\x00"]`},
	} {
		var ends []string
		for _, end := range parts(c.levels) {
			ends = append(ends, string(end))
		}
		if diff := cmp.Diff(c.want, fmt.Sprintf("%q", ends)); diff != "" {
			t.Errorf("parts (-want +got):\n%s", diff)
		}
		if got := worthCompacting(c.levels); got != c.worth {
			t.Errorf("%+v: worth %v, want %v", c.levels, got, c.worth)
		}
	}
}
