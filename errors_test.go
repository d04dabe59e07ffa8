package pinetree_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
)

func TestTypedErrorsAreTheirSentinelAndCarryTheirFacts(t *testing.T) {
	for _, c := range []struct {
		err      error
		sentinel error
		says     []string
	}{
		{
			&pinetree.StaleComputeTermError{Volume: 7, Term: 12, Durable: 0x16B3740},
			pinetree.ErrStaleComputeTerm,
			[]string{"volume 7", "term 12", "0/16B3740", "fenced for good"},
		},
		{
			&pinetree.NotLeaderError{Group: 4, Leader: 2, Addr: "10.0.0.2:7400"},
			pinetree.ErrNotLeader,
			[]string{"group 4", "node 2", "10.0.0.2:7400"},
		},
		{
			&pinetree.NotLeaderError{Group: 4},
			pinetree.ErrNotLeader,
			[]string{"group 4", "cluster manager"},
		},
		{
			&pinetree.TruncatedError{Volume: 7, Asked: 0x10, First: 0x20},
			pinetree.ErrTruncated,
			[]string{"volume 7", "0/10", "0/20"},
		},
		{
			&pinetree.CorruptError{Where: "0001.seg at 4096", What: "CRC32C differs"},
			pinetree.ErrCorrupt,
			[]string{"0001.seg at 4096", "CRC32C differs"},
		},
	} {
		wrapped := fmt.Errorf("ship: %w", c.err)
		if !errors.Is(wrapped, c.sentinel) {
			t.Errorf("%T is not its sentinel %v", c.err, c.sentinel)
		}
		for _, fact := range c.says {
			if !strings.Contains(c.err.Error(), fact) {
				t.Errorf("%T says %q, which lacks %q", c.err, c.err, fact)
			}
		}
	}
}

func TestTypedErrorIsNoOtherSentinel(t *testing.T) {
	sentinels := []error{
		pinetree.ErrStaleComputeTerm, pinetree.ErrStaleAppointment, pinetree.ErrNotLeader, pinetree.ErrNoLease,
		pinetree.ErrStopped, pinetree.ErrQueueFull, pinetree.ErrDiskFull, pinetree.ErrBadBatch,
		pinetree.ErrUnknownVolume, pinetree.ErrUnknownGroup, pinetree.ErrTruncated, pinetree.ErrCorrupt,
		pinetree.ErrNotFound, pinetree.ErrExists,
	}
	for _, err := range []error{
		&pinetree.StaleComputeTermError{}, &pinetree.NotLeaderError{}, &pinetree.TruncatedError{}, &pinetree.CorruptError{},
	} {
		matched := 0
		for _, s := range sentinels {
			if errors.Is(err, s) {
				matched++
			}
		}
		if matched != 1 {
			t.Errorf("%T matches %d sentinels, want exactly its own", err, matched)
		}
	}
	texts := map[string]bool{}
	for _, s := range sentinels {
		if texts[s.Error()] {
			t.Errorf("two sentinels say %q", s)
		}
		texts[s.Error()] = true
	}
}

func TestNamesOfFormatsAndReadLevels(t *testing.T) {
	for format, want := range map[pinetree.Format]string{
		0: "unknown", pinetree.FormatOpaque: "opaque", pinetree.FormatRedo: "redo", 9: "unknown",
	} {
		if format.String() != want {
			t.Errorf("Format(%d) is %q, want %q", format, format, want)
		}
	}
	for level, want := range map[pinetree.ReadLevel]string{
		pinetree.ReadDefault: "default", pinetree.ReadStale: "stale", pinetree.ReadConsistent: "consistent",
	} {
		if level.String() != want {
			t.Errorf("ReadLevel(%d) is %q, want %q", level, level, want)
		}
	}
	if (pinetree.Batch{Encoded: make([]byte, 77)}).Size() != 77 {
		t.Error("the size of a batch is not that of its encoded form")
	}
}
