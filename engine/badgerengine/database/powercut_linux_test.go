package database

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/engine/crashtest"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// movingDir is where the child of the test moves values until its power is cut.
const movingDir = "PINETREE_MOVING_DIR"

const lasting = 60 // keys that are written once, and take a small part of a file

// TestWhatIsMovedSurvivesAPowerCut writes values once, has them moved from file to
// file beside others that come and go, and cuts the power at random moments.
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
	versions := map[uint32]uint32{}
	for key := range uint32(lasting) {
		if err := d.Commit(sorted.Change{Entries: []sorted.Entry{{Key: number(key), Value: valueOf(key, 1, 1500+int(key)*20)}}}); err != nil {
			t.Fatal(err)
		}
		versions[key] = 1
	}
	_, err := comeAndGo(d, 0) // in the same file, which is to be given back
	if err := errors.Join(err, d.Sync(), d.Close()); err != nil {
		t.Fatal(err)
	}
	moves := 0
	for range 15 {
		moves += moveAndCut(t, disk, dir)
		checkMoved(t, dir, versions)
	}
	if moves < 15 {
		t.Errorf("values were moved %d times before the power was cut, too few to tell", moves)
	}
}

func checkMoved(t *testing.T, dir string, versions map[uint32]uint32) {
	t.Helper()
	d := openSmall(t, dir)
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	want(t, d, versions)
}

func openSmall(t *testing.T, dir string) *DB {
	t.Helper()
	d, err := Open(Options{Dir: dir, MemTableBytes: MinMemTableBytes, ValueFileBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// moveAndCut lets a child work until it has moved values a few times, or for a while, and counts how often it moved all that lasts.
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
	after, timer := rand.IntN(10), time.AfterFunc(time.Hour, func() {})
	for lines.Scan() {
		if strings.Contains(lines.Text(), "begin") && after == 0 {
			timer = time.AfterFunc(time.Duration(rand.IntN(500))*time.Millisecond, cut)
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

// moveUntilKilled writes values that do not last, deletes them, closes the file that
// they are in with what else was moved there, and gives it back.
func moveUntilKilled(dir string) error {
	d, err := Open(Options{Dir: dir, MemTableBytes: MinMemTableBytes, ValueFileBytes: 1 << 20})
	if err != nil {
		return err
	}
	fmt.Println("begin")
	for step := uint32(0); ; step++ {
		files, err := comeAndGo(d, step)
		if err != nil {
			return err
		}
		for _, f := range files {
			living, err := d.livingIn(f, func() error { return nil })
			if err == nil {
				err = d.reclaimFile(f, func() error { return nil })
			}
			if err != nil {
				return err
			}
			if len(living) < lasting {
				continue
			}
			// Everything but what was moved: that the old file is gone is on disk now.
			if err := syncFile(filepath.Dir(dir)); err != nil {
				return err
			}
			fmt.Println("moved")
		}
	}
}

// comeAndGo writes values and deletes them, and lists the files that are closed then.
func comeAndGo(d *DB, step uint32) ([]valueFile, error) {
	var entries []sorted.Entry
	for n := range uint32(100) {
		entries = append(entries, sorted.Entry{Key: fmt.Appendf(nil, "g%d", n), Value: valueOf(n, step, 4000+int(step%7)*900)})
	}
	if err := d.Commit(sorted.Change{Entries: entries}); err != nil {
		return nil, err
	}
	if _, err := d.DeleteRange([]byte("g"), []byte("h")); err != nil {
		return nil, err
	}
	return d.closedValueFiles()
}
