// Package adapter breaks what a pure package keeps.
package adapter

import (
	"time"

	"go.etcd.io/raft/v3"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// AdapterQueue stutters, and Adapters does not.
type AdapterQueue struct{}

// Adapters is a plural, which is no stutter.
type Adapters struct{}

// LastEpoch is a word that is not used here.
var LastEpoch = pinetree.LSN(1)

var _ = []any{raft.None, engine.New, storepb.Version, wirepb.Version}

func tick(done chan time.Time) {
	go func() { done <- time.Now() }()
}
