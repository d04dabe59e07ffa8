package badgerengine_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/badgerengine"
	"github.com/pinetree-db/pinetree/engine/crashtest"
	"github.com/pinetree-db/pinetree/engine/enginetest"
	"github.com/pinetree-db/pinetree/engine/preparedtest"
	"github.com/pinetree-db/pinetree/engine/spacetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var backend = enginetest.Backend{Open: func(dir string) (engine.Store, error) {
	return badgerengine.Open(badgerengine.Options{Dir: dir, MemTableBytes: 8 << 20})
}}

func TestConformance(t *testing.T) { enginetest.Run(t, backend) }

func TestWritesCanBePreparedAhead(t *testing.T) { preparedtest.Run(t, backend) }

func TestNothingFlushedIsLostToAKill(t *testing.T) { crashtest.RunKilled(t, backend, 6) }

func TestSpaceComesBack(t *testing.T) { spacetest.Run(t, backend, 64<<20) }

func TestSpaceStaysBesideWrites(t *testing.T) { spacetest.RunBesideWrites(t, backend) }
