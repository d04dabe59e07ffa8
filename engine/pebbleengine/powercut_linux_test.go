package pebbleengine_test

import (
	"testing"

	"github.com/pinetree-db/pinetree/engine/enginetest"
)

func TestNothingFlushedIsLostToAPowerCut(t *testing.T) { enginetest.RunPowerCut(t, backend, 20) }
