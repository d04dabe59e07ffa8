package group

import "github.com/pinetree-db/pinetree/logservice/bounds"

// Options bound and pace replicas.
type Options = bounds.Options

// DefaultOptions are tested together.
func DefaultOptions() Options { return bounds.DefaultOptions() }
