package badgerengine_test

import (
	"testing"

	"github.com/pinetree-db/pinetree/engine/crashtest"
)

func TestNothingFlushedIsLostToAPowerCut(t *testing.T) { crashtest.RunPowerCut(t, backend, 20) }

func TestNothingFlushedIsLostToAPowerCutWhileSpaceIsReclaimed(t *testing.T) {
	crashtest.RunPowerCut(t, reclaiming, 20)
}
