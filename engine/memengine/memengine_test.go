package memengine_test

import (
	"testing"

	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/enginetest"
	"github.com/pinetree-db/pinetree/engine/memengine"
)

// disks are stores by directory: opening one again is the restart after a
// crash.
func disks(options memengine.Options) enginetest.Backend {
	stores := map[string]*memengine.Store{}
	return enginetest.Backend{Open: func(dir string) (engine.Store, error) {
		if s := stores[dir]; s != nil {
			s.Crash()
			return s, nil
		}
		stores[dir] = memengine.New(options)
		return stores[dir], nil
	}}
}

func TestConformance(t *testing.T) {
	t.Run("flush on apply", func(t *testing.T) { enginetest.Run(t, disks(memengine.Options{FlushOnApply: true})) })
	t.Run("flush on demand", func(t *testing.T) { enginetest.Run(t, disks(memengine.Options{})) })
}
