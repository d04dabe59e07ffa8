// Package enginetest is a suite, which may use what tests use.
package enginetest

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree/engine/memengine"
)

// Run is the suite.
func Run(t *testing.T) { t.Log(rapid.Check, memengine.New) }
