package bench

import (
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pinetree-db/pinetree/adapter/pgwal/pgsample"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// TestTheLogIsShippedAsItIs: the payloads of PostgreSQL's log, one after the
// other, are the bytes of its segments, and each is a record of it.
func TestTheLogIsShippedAsItIs(t *testing.T) {
	c := Config{WAL: SampleWAL, WindowBytes: 1 << 20, Together: 1}
	ring, err := c.payloads()
	if err != nil {
		t.Fatal(err)
	}
	if want := pgsample.Records + 2; len(ring) != want {
		t.Errorf("%d payloads, the sample has %d records and parts of two", len(ring), want)
	}
	sum := md5.New()
	for _, payload := range ring {
		_, _ = sum.Write(payload) // never fails
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != pgsample.MD5 {
		t.Errorf("the MD5 of the payloads is %s, that of the segments %s", got, pgsample.MD5)
	}
	for name, c := range map[string]Config{
		"window":   {WAL: SampleWAL, WindowBytes: 1 << 10, Together: 1},
		"together": {WAL: SampleWAL, WindowBytes: 1 << 20, Together: 10_000},
	} {
		var usage cli.UsageError
		if _, err := c.payloads(); !errors.As(err, &usage) {
			t.Errorf("%s that holds no record: %v", name, err)
		}
	}
}

func TestALogThatCannotBeReadIsNotShipped(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "000000010000000000000001"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "nothing")} {
		if ring, err := walPayloads(path); err == nil {
			t.Errorf("%s: %d records", path, len(ring))
		}
	}
}
