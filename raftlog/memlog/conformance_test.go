package memlog_test

import (
	"math"
	"testing"

	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
	"github.com/pinetree-db/pinetree/raftlog/raftlogtest"
)

func TestConformance(t *testing.T) {
	raftlogtest.Run(t, func(*testing.T) raftlogtest.Open {
		s := memlog.New()
		return func() (raftlog.Store, error) {
			// As after a restart of a process: all written is there.
			s.CrashKeeping(math.MaxInt)
			return s, nil
		}
	})
}
