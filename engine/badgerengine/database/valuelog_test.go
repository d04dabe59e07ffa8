package database

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// valueOf is a value that tells its key and its version.
func valueOf(key, version uint32, size int) []byte {
	value := bytes.Repeat([]byte{byte(version)}, size)
	binary.BigEndian.PutUint32(value, key)
	binary.BigEndian.PutUint32(value[4:], version)
	return value
}

// closeFile ends the file of the value log that is written to.
func closeFile(t *testing.T, d *DB) {
	t.Helper()
	if err := d.cutNow(true); err != nil {
		t.Fatal(err)
	}
}

// want reads all keys of fill and compares them with the versions that they have.
func want(t *testing.T, d *DB, versions map[uint32]uint32) {
	t.Helper()
	found := 0
	err := d.Scan([]byte("k"), func(it sorted.Iterator) error {
		for it.Seek(nil); it.Valid(); it.Next() {
			found++
			key := binary.BigEndian.Uint32(it.Key()[1:])
			err := it.Value(func(value []byte) error {
				if at, version := binary.BigEndian.Uint32(value), binary.BigEndian.Uint32(value[4:]); at != key || version != versions[key] {
					return fmt.Errorf("key %d, of version %d, has the value of key %d and version %d", key, versions[key], at, version)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || found != len(versions) {
		t.Fatalf("%d keys are there, want %d; %v", found, len(versions), err)
	}
}

// TestNothingIsLostOrComesBackBesideReclaiming writes, overwrites and deletes keys
// while files of the value log are closed and given back all the time.
func TestNothingIsLostOrComesBackBesideReclaiming(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	stop, done := make(chan struct{}), make(chan error, 1)
	var released sync.Map
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			before, err := d.closedValueFiles()
			for _, f := range before {
				if err == nil {
					err = d.reclaimFile(f, noPause)
				}
			}
			after, listErr := d.closedValueFiles()
			if len(after) < len(before) {
				released.Store(len(after), true)
			}
			if err = errors.Join(err, listErr); err != nil {
				done <- err
				return
			}
		}
	}()
	random := rand.New(rand.NewPCG(3, 3))
	versions := map[uint32]uint32{}
	for step := range uint32(600) {
		key := random.Uint32N(300)
		var err error
		switch random.IntN(8) {
		case 0:
			_, err = d.DeleteRange(number(key), number(key+3))
			for n := range uint32(3) {
				delete(versions, key+n)
			}
		case 1:
			err = d.Commit(sorted.Change{Entries: []sorted.Entry{{Key: number(key), Remove: true}}, Freeing: true})
			delete(versions, key)
		default:
			versions[key] = step
			err = d.Commit(sorted.Change{Entries: []sorted.Entry{{Key: number(key), Value: valueOf(key, step, 900+random.IntN(2000))}}, Rewrite: true})
		}
		if err != nil {
			t.Fatal(err)
		}
		if step%60 == 59 {
			closeFile(t, d)
		}
		if step%200 == 199 {
			want(t, d, versions)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	some := false
	released.Range(func(any, any) bool { some = true; return false })
	if !some {
		t.Error("no file was given back")
	}
	want(t, d, versions)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, dir)
	want(t, d, versions)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAReaderKeepsTheFileThatItReads opens an iterator before a value is moved, and
// reads the value afterwards.
func TestAReaderKeepsTheFileThatItReads(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	fill(t, d, 0, 10, 2000)
	closeFile(t, d)
	if _, err := d.DeleteRange(number(0), number(8)); err != nil {
		t.Fatal(err)
	}
	files := valueLogs(t, dir)
	err := d.Scan([]byte("k"), func(it sorted.Iterator) error {
		it.Seek(number(9))
		closed, err := d.closedValueFiles()
		if err != nil {
			return err
		}
		if err := d.reclaimFile(closed[0], noPause); err != nil {
			return err
		}
		if rest, err := d.closedValueFiles(); err != nil || len(rest) != len(closed)-1 {
			return fmt.Errorf("%d files are looked at, want one less than %d, %v", len(rest), len(closed), err)
		}
		if n := valueLogs(t, dir); n != files {
			return fmt.Errorf("%d files are left of %d while a reader is in them", n, files)
		}
		return it.Value(func(value []byte) error {
			if len(value) != 2000 {
				return fmt.Errorf("a value of %d bytes", len(value))
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := valueLogs(t, dir); n != files-1 {
		t.Errorf("%d files are left of %d", n, files)
	}
	if n := keys(t, d); n != 2 {
		t.Errorf("%d keys are read, want 2", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsBehindAHoleIsFound damages a value of no use, as a power cut may, so
// that the file cannot be read to its end.
func TestWhatIsBehindAHoleIsFound(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	versions := map[uint32]uint32{}
	for key := range uint32(20) {
		if err := d.Commit(sorted.Change{Entries: []sorted.Entry{{Key: number(key), Value: valueOf(key, key, 4096)}}}); err != nil {
			t.Fatal(err)
		}
		versions[key] = key
	}
	closeFile(t, d)
	if _, err := d.DeleteRange(number(3), number(18)); err != nil {
		t.Fatal(err)
	}
	for key := uint32(3); key < 18; key++ {
		delete(versions, key)
	}
	files, err := d.closedValueFiles()
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	f, err := os.OpenFile(d.valueFilePath(files[0].number), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 8192), 8*4096); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), d.reclaimFile(files[0], noPause)); err != nil {
		t.Fatal(err)
	}
	if rest, err := d.closedValueFiles(); err != nil || len(rest) > 1 || len(rest) == 1 && rest[0] == files[0] {
		t.Errorf("the file is still there: %v, %v", rest, err)
	}
	want(t, d, versions)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFileIsLookedAtWhenMuchWasDeleted(t *testing.T) {
	size := look{file: 800, log: 8000}
	for _, c := range []struct {
		last, now look
		want      bool
	}{
		{look{0, 0}, look{0, 0}, false},
		{look{0, 0}, look{99, 99}, false},
		{look{0, 0}, look{100, 100}, true},
		{look{100, 100}, look{150, 3000}, false},
		{look{100, 100}, look{200, 3000}, true},
		{look{100, 100}, look{100, 4099}, false},
		{look{100, 100}, look{100, 4100}, true},
	} {
		if got := c.last.due(c.now, size); got != c.want {
			t.Errorf("last %v, now %v: %v, want %v", c.last, c.now, got, c.want)
		}
	}
}

// TestValuesOfEarlierTimesAreLookedAt closes a database before it gave anything back.
func TestValuesOfEarlierTimesAreLookedAt(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	fill(t, d, 0, 100, 20_000)
	closeFile(t, d)
	if _, err := d.DeleteRange(number(10), number(100)); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, dir)
	if err := d.Reclaim(false, noPause); err != nil {
		t.Fatal(err)
	}
	if files, err := d.closedValueFiles(); err != nil || len(files) != 0 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
	if n := keys(t, d); n != 10 {
		t.Errorf("%d keys are read, want 10", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
