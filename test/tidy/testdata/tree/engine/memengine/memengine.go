// Package memengine
package memengine

import (
	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree/engine"
)

// New is fine.
var New = engine.New

var _ = badger.Open
