package badgerengine_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/engine/badgerengine/database"
	"github.com/pinetree-db/pinetree/engine/crashtest"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// movingDir is where the child of the test moves values until its power is cut.
const movingDir = "PINETREE_MOVING_DIR"

const lasting = 60 // keys, which take a small part of a file

// TestWhatIsMovedSurvivesAPowerCut has values moved from file to file beside others
// that come and go, and cuts the power at random moments.
func TestWhatIsMovedSurvivesAPowerCut(t *testing.T) {
	if dir := os.Getenv(movingDir); dir != "" {
		if err := moveUntilKilled(dir); err != nil {
			t.Log(err) // the disk is gone
		}
		return
	}
	disk := crashtest.NewRealDisk(t)
	dir := filepath.Join(disk.Dir, "database")
	d := openSmall(t, dir)
	if err := errors.Join(writeLasting(d), d.Close()); err != nil {
		t.Fatal(err)
	}
	moves := 0
	for range 15 {
		moves += moveAndCut(t, disk, dir)
		checkMoved(t, dir)
	}
	if moves < 15 {
		t.Errorf("values were moved %d times before the power was cut, too few to tell", moves)
	}
}

func checkMoved(t *testing.T, dir string) {
	t.Helper()
	d := openSmall(t, dir)
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	found := 0
	err := d.Scan([]byte("k"), func(it sorted.Iterator) error {
		for it.Seek(nil); it.Valid(); it.Next() {
			found++
			var key int
			if _, err := fmt.Sscanf(string(it.Key()), "k%d", &key); err != nil {
				return err
			}
			if err := it.Value(func(value []byte) error {
				if !bytes.Equal(value, lastingValue(key)) {
					return fmt.Errorf("key %d has another value", key)
				}
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || found != lasting {
		t.Fatalf("%d keys are there, want %d; %v", found, lasting, err)
	}
}

func openSmall(t *testing.T, dir string) *database.DB {
	t.Helper()
	d, err := database.Open(database.Options{Dir: dir, MemTableBytes: database.MinMemTableBytes, ValueFileBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// moveAndCut lets a child work until it has moved values a few times, or for a while,
// and counts how often it moved all that lasts.
func moveAndCut(t *testing.T, disk *crashtest.RealDisk, dir string) (moves int) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), movingDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines, cut := bufio.NewScanner(out), func() { disk.Cut(); _ = child.Process.Kill() }
	after, limit, timer := rand.IntN(10), 2*time.Second, time.AfterFunc(time.Minute, cut)
	if after == 0 {
		limit = time.Duration(rand.IntN(500)) * time.Millisecond
	}
	for lines.Scan() {
		if strings.Contains(lines.Text(), "begin") {
			timer.Reset(limit)
		}
		if strings.Contains(lines.Text(), "moved") {
			if moves++; moves == after {
				cut()
			}
		}
	}
	timer.Stop()
	_ = child.Wait() // killed
	disk.Restore()
	return moves
}

// moveUntilKilled writes values that do not last, deletes them, and has the files that
// they are in given back, with what else was moved there.
func moveUntilKilled(dir string) error {
	d, err := database.Open(database.Options{Dir: dir, MemTableBytes: database.MinMemTableBytes, ValueFileBytes: 1 << 20})
	if err != nil {
		return err
	}
	// In a file that goes: one that a crash left with nothing else would stay.
	if err := writeLasting(d); err != nil {
		return err
	}
	fmt.Println("begin")
	for step := 0; ; step++ {
		oldest, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
		if err == nil {
			err = errors.Join(comeAndGo(d, step), d.Reclaim(true, func() error { return nil }))
		}
		if err != nil {
			return err
		}
		if _, err := os.Stat(oldest[0]); err == nil {
			continue
		}
		// Everything but what was moved: that the old file is gone is on disk now.
		if err := syncDirectory(filepath.Dir(dir)); err != nil {
			return err
		}
		fmt.Println("moved")
	}
}

func syncDirectory(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// writeLasting writes what lasts, durably, into a file with what does not.
func writeLasting(d *database.DB) error {
	var entries []sorted.Entry
	for key := range lasting {
		entries = append(entries, sorted.Entry{Key: fmt.Appendf(nil, "k%d", key), Value: lastingValue(key)})
	}
	return errors.Join(d.Commit(sorted.Change{Entries: entries, Rewrite: true}), comeAndGo(d, 0), d.Sync())
}

// lastingValue is what a key has for ever.
func lastingValue(key int) []byte { return bytes.Repeat([]byte{byte(key), 7}, 700+key*10) }

// comeAndGo writes values and deletes them.
func comeAndGo(d *database.DB, step int) error {
	var entries []sorted.Entry
	for n := range 100 {
		entries = append(entries, sorted.Entry{Key: fmt.Appendf(nil, "g%d", n), Value: bytes.Repeat([]byte{byte(step)}, 4000+step%7*900)})
	}
	if err := d.Commit(sorted.Change{Entries: entries}); err != nil {
		return err
	}
	_, err := d.DeleteRange([]byte("g"), []byte("h"))
	return err
}
