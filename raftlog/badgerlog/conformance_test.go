package badgerlog_test

import (
	"testing"

	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/badgerlog"
	"github.com/pinetree-db/pinetree/raftlog/raftlogtest"
)

func TestConformance(t *testing.T) {
	raftlogtest.Run(t, func(t *testing.T) raftlogtest.Open {
		dir := t.TempDir()
		return func() (raftlog.Store, error) { return badgerlog.Open(dir, badgerlog.Options{}) }
	})
}
