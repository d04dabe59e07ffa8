package lsm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree"
)

const failedSyncDir = "PINETREE_BADGERENGINE_FAILED_SYNC_DIR"

// TestAFailedSyncStopsTheStore lets one sync of a child process fail and all
// later ones succeed, which is when a database that tries again loses what it
// had acknowledged.
func TestAFailedSyncStopsTheStore(t *testing.T) {
	if dir := os.Getenv(failedSyncDir); dir != "" {
		applyUntilASyncFails(t, dir)
		return
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("no strace to make a sync fail with")
	}
	for n := 20; n < 23; n++ {
		dir := t.TempDir()
		child := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace=fdatasync", "-e", fmt.Sprintf("inject=fdatasync:error=EIO:when=%d", n),
			os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
		child.Env = append(os.Environ(), failedSyncDir+"="+dir)
		out, err := child.CombinedOutput()
		if strings.Contains(string(out), "ptrace") {
			t.Skipf("strace may not trace here: %s", out)
		}
		_, last, found := strings.Cut(string(out), "stopped after ")
		var acknowledged pinetree.LSN
		if _, scanErr := fmt.Sscan(last, (*uint64)(&acknowledged)); err != nil || !found || scanErr != nil {
			t.Fatalf("sync %d: the child was to stop with an error: %v\n%s", n, err, out)
		}
		// Strace counts for each thread, so more than one sync may have failed,
		// and badger may have lost a table over that. It must be seen then.
		s, err := onBadger.tryOpen(dir)
		if errors.Is(err, pinetree.ErrCorrupt) {
			t.Logf("sync %d: refused: %v", n, err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, s)
		g := openGroup(t, s)
		if end := logEnd(t, g, 1); end < acknowledged || end > acknowledged+1 || g.Position().Volumes[1].LSN != end {
			t.Fatalf("sync %d: the log ends at %s, the position is %v, %s was acknowledged", n, end, g.Position(), acknowledged)
		}
	}
}

// applyUntilASyncFails is the child.
func applyUntilASyncFails(t *testing.T, dir string) {
	s, err := onBadger.tryOpen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { t.Logf("closed after the failure: %v", s.Close()) }()
	g := openGroup(t, s)
	lsn := pinetree.LSN(0)
	for ; err == nil && lsn < 100; lsn++ {
		if err = g.Apply(bigWrite(t, pinetree.RaftIndex(lsn+1), lsn, lsn+1)); err == nil {
			_, err = g.Flush()
		}
	}
	if err == nil {
		t.Fatal("no sync failed")
	}
	lsn--
	for range 3 {
		if err := g.Apply(bigWrite(t, pinetree.RaftIndex(lsn+1), lsn, lsn+1)); err == nil {
			t.Fatal("a write went through after a failed sync")
		}
	}
	if _, err := g.Flush(); err == nil || g.Flushed().Volumes[1].LSN != lsn {
		t.Fatalf("flush: %v, flushed %v, want an error and %s", err, g.Flushed(), lsn)
	}
	fmt.Printf("stopped after %d \n", uint64(lsn))
}

// TestNothingPointsAtWhatIsNotSynced lets the sync of the data fail: neither a
// flush nor a restore may have stored the position that goes with them. Nothing
// else is lost, so what was stored would be seen.
func TestNothingPointsAtWhatIsNotSynced(t *testing.T) {
	for name, finish := range map[string]func(*group, *restore) error{
		"flush":  func(g *group, _ *restore) error { _, err := g.Flush(); return err },
		"commit": func(_ *group, r *restore) error { return r.Commit() },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := onBadger.open(t, dir)
			g := openGroup(t, s)
			if err := g.Apply(bigWrite(t, 1, 0, 1)); err != nil {
				t.Fatal(err)
			}
			flush(t, g)
			if err := g.Apply(bigWrite(t, 2, 1, 2)); err != nil {
				t.Fatal(err)
			}
			at, chunks, err := chunksOf(t, s)
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Restore(1, at)
			if err != nil {
				t.Fatal(err)
			}
			for _, chunk := range chunks {
				if err := r.Write(chunk); err != nil {
					t.Fatal(err)
				}
			}
			// A file that is a link to itself cannot be opened, and so not be synced.
			loop := filepath.Join(dir, "99999.mem")
			if err := os.Symlink("99999.mem", loop); err != nil {
				t.Fatal(err)
			}
			if err := finish(g, r.(*restore)); !errors.Is(err, unix.ELOOP) {
				t.Fatalf("%v, want ELOOP", err)
			}
			closeStore(t, s)
			if err := os.Remove(loop); err != nil {
				t.Fatal(err)
			}
			g = openGroup(t, onBadger.open(t, dir))
			if at := g.Position(); at.Index != 1 || at.Restored != 0 || logEnd(t, g, 1) != 1 {
				t.Fatalf("after the restart the position is %+v, want the one of the last sync", at)
			}
		})
	}
}
