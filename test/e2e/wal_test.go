package e2e

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/adapter/pgwal/pgsample"
)

const (
	largeWAL   = "../../adapter/pgwal/testdata/pgwal-16mb.tar.zst"
	largeMD5   = "939b8f67721c70c6e79e51466771bba1"
	largeCount = "180675"
)

// run runs pinetree to its end.
func (c *cluster) run(limit time.Duration, args ...string) (stdout []byte, stderr string, code int) {
	c.t.Helper()
	cmd := exec.CommandContext(c.within(limit), binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	return out.Bytes(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestWALComesBackFromEveryReplica ships four segments of real PostgreSQL WAL
// and reads them back, byte for byte.
func TestWALComesBackFromEveryReplica(t *testing.T) {
	beside(t)
	segments := unpack(t, largeWAL)
	c := startCluster(t, 3)
	out, errs, code := c.run(2*time.Minute, "ship", "--manager", c.managed, "--volume", "pg", "--create", segments)
	if code != 0 {
		t.Fatalf("ship: exit code %d\n%s\n%s", code, out, errs)
	}
	if !strings.Contains(strings.ReplaceAll(string(out)+errs, ",", ""), largeCount) {
		t.Errorf("ship does not speak of %s records:\n%s%s", largeCount, out, errs)
	}
	for i := range c.nodes {
		within(t, 30*time.Second, "the log of node", func() error {
			log, errs, code := c.run(time.Minute, "tail", "--manager", c.managed, "--volume", "pg", "--raw", "--node", fmt.Sprint(i+1))
			if sum := fmt.Sprintf("%x", md5.Sum(log)); code != 0 || sum != largeMD5 {
				return fmt.Errorf("node %d: %d bytes, md5 %s, exit code %d\n%s", i+1, len(log), sum, code, errs)
			}
			return nil
		})
	}
	// Shipping it again changes nothing.
	if out, errs, code := c.run(time.Minute, "ship", "--manager", c.managed, "--volume", "pg", segments); code != 0 {
		t.Errorf("shipping again: exit code %d\n%s\n%s", code, out, errs)
	}
}

// TestFlippedBitIsRefused damages a copy of the WAL in its third segment.
func TestFlippedBitIsRefused(t *testing.T) {
	beside(t)
	segments := unpack(t, largeWAL)
	names, err := filepath.Glob(filepath.Join(segments, "0*"))
	if err != nil || len(names) != 4 {
		t.Fatal(names, err)
	}
	slices.Sort(names)
	damaged, err := os.ReadFile(names[2])
	if err != nil {
		t.Fatal(err)
	}
	const at = 5_000_000
	damaged[at] ^= 1
	if err := os.WriteFile(names[2], damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, 3)
	out, errs, code := c.run(2*time.Minute, "ship", "--manager", c.managed, "--volume", "pg", "--create", segments)
	if code != 1 || !strings.Contains(errs, filepath.Base(names[2])) || !strings.Contains(errs, "0/34") {
		t.Fatalf("exit code %d; want the segment and an LSN near 0/34C4B40 to be named:\n%s\n%s", code, out, errs)
	}
	t.Logf("%s", strings.TrimSpace(errs))
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(names[1])
	if err != nil {
		t.Fatal(err)
	}
	whole = append(append(whole, second...), damaged[:at]...)
	log, errs, code := c.run(time.Minute, "tail", "--manager", c.managed, "--volume", "pg", "--raw", "--no-pad")
	if code != 0 || !bytes.HasPrefix(whole, log) {
		t.Fatalf("tail: exit code %d, %d bytes that are not the source's\n%s", code, len(log), errs)
	}
	if missing := len(whole) - len(log); missing > 16<<10 {
		t.Errorf("%d bytes before the damage are missing", missing)
	}
}

// unpack puts a sample's segments into a folder.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	folder := t.TempDir()
	if err := pgsample.UnpackArchive(f, folder); err != nil {
		t.Fatal(err)
	}
	return folder
}
