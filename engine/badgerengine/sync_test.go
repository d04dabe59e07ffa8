package badgerengine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/badgerengine/database"
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
		s, err := Open(Options{Dir: dir, MemTableBytes: database.MinMemTableBytes})
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
	s, err := Open(Options{Dir: dir, MemTableBytes: database.MinMemTableBytes})
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
