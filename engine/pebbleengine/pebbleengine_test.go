package pebbleengine_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/crashtest"
	"github.com/pinetree-db/pinetree/engine/enginetest"
	"github.com/pinetree-db/pinetree/engine/pebbleengine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var backend = enginetest.Backend{Open: func(dir string) (engine.Store, error) {
	return pebbleengine.Open(pebbleengine.Options{Dir: dir, MemTableBytes: 1 << 20})
}}

func TestConformance(t *testing.T) { enginetest.Run(t, backend) }

func TestNothingFlushedIsLostToAKill(t *testing.T) { crashtest.RunKilled(t, backend, 6) }
