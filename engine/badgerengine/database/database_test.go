package database

import (
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

func open(t *testing.T, dir string) *DB {
	t.Helper()
	d, err := Open(Options{Dir: dir, MemTableBytes: MinMemTableBytes})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func one(key string) sorted.Change {
	return sorted.Change{Entries: []sorted.Entry{{Key: []byte(key), Value: []byte("1")}}}
}

// TestAnErrorThatBadgerOnlyLogsStopsWrites also holds for the next Open, which
// has to check everything.
func TestAnErrorThatBadgerOnlyLogsStopsWrites(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	log := (*badgerLog)(d)
	log.Errorf("Unable to read: Key: %v, Version : %v", "k", 1)
	log.Warningf("careful")
	if err := errors.Join(d.Commit(one("a")), d.Sync()); err != nil {
		t.Fatalf("a value that one reader could not read stopped the writes: %v", err)
	}
	log.Errorf("disk says %s", "no")
	if d.Commit(one("b")) == nil || d.Sync() == nil {
		t.Fatal("after an error of badger's a write went through")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	calls := 0
	no := errors.New("not whole")
	for _, want := range []error{no, nil, nil} {
		d = open(t, dir)
		if err := d.RegainTrust(func() error { calls++; return want }); !errors.Is(err, want) {
			t.Fatalf("regaining trust: %v, want %v", err, want)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 2 {
		t.Fatalf("checked %d times, want until it passes once", calls)
	}
}

// TestValuesAreSyncedFirstOnlyWhenAsked fails when badger keeps its option
// elsewhere.
func TestValuesAreSyncedFirstOnlyWhenAsked(t *testing.T) {
	d, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if *d.hidden.syncValues {
		t.Error("values are synced with every write")
	}
	if err := d.valuesFirst(func() error {
		if !*d.hidden.syncValues {
			t.Error("values are not synced before keys")
		}
		return nil
	}); err != nil || *d.hidden.syncValues {
		t.Errorf("afterwards: %v, %v", *d.hidden.syncValues, err)
	}
}
