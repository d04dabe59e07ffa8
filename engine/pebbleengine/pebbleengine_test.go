package pebbleengine_test

import (
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/crashtest"
	"github.com/pinetree-db/pinetree/engine/enginetest"
	"github.com/pinetree-db/pinetree/engine/pebbleengine"
	"github.com/pinetree-db/pinetree/engine/preparedtest"
	"github.com/pinetree-db/pinetree/engine/spacetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var backend = enginetest.Backend{Open: func(dir string) (engine.Store, error) {
	return pebbleengine.Open(pebbleengine.Options{Dir: dir, MemTableBytes: 1 << 20})
}}

// inMemory spares the conformance suite its thousands of syncs.
func inMemory() enginetest.Backend {
	var mu sync.Mutex
	disks := map[string]vfs.FS{}
	return enginetest.Backend{Open: func(dir string) (engine.Store, error) {
		mu.Lock()
		defer mu.Unlock()
		if disks[dir] == nil {
			disks[dir] = vfs.NewMem()
		}
		return open(dir, disks[dir])
	}}
}

func TestWritesCanBePreparedAhead(t *testing.T) { preparedtest.Run(t, inMemory()) }

func TestConformance(t *testing.T) { enginetest.Run(t, inMemory()) }

func TestNothingFlushedIsLostToAKill(t *testing.T) { crashtest.RunKilled(t, backend, 4) }

// TestSpaceComesBack writes more than fits well into memtables as small as those of
// the other tests.
func TestSpaceComesBack(t *testing.T) {
	spacetest.Run(t, enginetest.Backend{Open: func(dir string) (engine.Store, error) {
		return pebbleengine.Open(pebbleengine.Options{Dir: dir, MemTableBytes: 8 << 20})
	}}, 64<<20)
}

// TestSpaceStaysBesideWrites has memtables as nodes have them: beside writes at full
// speed pebble gives back what it has time for, and with those of the other tests all
// of it goes into writing small tables again.
func TestSpaceStaysBesideWrites(t *testing.T) {
	spacetest.RunBesideWrites(t, enginetest.Backend{Open: func(dir string) (engine.Store, error) {
		return pebbleengine.Open(pebbleengine.Options{Dir: dir})
	}})
}
