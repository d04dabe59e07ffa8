package walengine_test

import (
	"testing"

	"github.com/pinetree-db/pinetree/engine/crashtest"
	"github.com/pinetree-db/pinetree/engine/walengine"
)

func TestNothingFlushedIsLostToAPowerCut(t *testing.T) {
	crashtest.RunPowerCut(t, backend(walengine.Options{}), 20)
}

func TestNothingFlushedIsLostToAPowerCutWithSmallFiles(t *testing.T) {
	crashtest.RunPowerCut(t, backend(walengine.Options{FileBytes: 1 << 20, MaxOpenFiles: 8}), 20)
}
