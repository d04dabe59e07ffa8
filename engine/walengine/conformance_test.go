package walengine_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/crashtest"
	"github.com/pinetree-db/pinetree/engine/enginetest"
	"github.com/pinetree-db/pinetree/engine/spacetest"
	"github.com/pinetree-db/pinetree/engine/walengine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func backend(o walengine.Options) enginetest.Backend {
	return enginetest.Backend{OpaqueOnly: true, Open: func(dir string) (engine.Store, error) { return walengine.Open(dir, o) }}
}

// small has a new file for every few writes and closes files all the time.
var small = walengine.Options{FileBytes: 2 << 10, MaxOpenFiles: 2}

func TestConformance(t *testing.T) {
	t.Run("Defaults", func(t *testing.T) { enginetest.Run(t, backend(walengine.Options{})) })
	t.Run("SmallFiles", func(t *testing.T) { enginetest.Run(t, backend(small)) })
}

func TestNothingFlushedIsLostToAKill(t *testing.T) {
	crashtest.RunKilled(t, backend(walengine.Options{}), 6)
}

func TestNothingFlushedIsLostToAKillWithSmallFiles(t *testing.T) {
	crashtest.RunKilled(t, backend(walengine.Options{FileBytes: 1 << 20, MaxOpenFiles: 8}), 6)
}

func TestSpaceComesBack(t *testing.T) {
	spacetest.Run(t, enginetest.Backend{OpaqueOnly: true, Open: func(dir string) (engine.Store, error) {
		return walengine.Open(dir, walengine.Options{FileBytes: 256 << 10})
	}}, 1<<20)
}
