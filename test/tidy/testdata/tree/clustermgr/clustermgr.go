// Package clustermgr keeps every rule.
package clustermgr

import (
	"github.com/cenkalti/backoff/v5"

	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// New is fine.
func New() []any { return []any{wirepb.Version, backoff.Retry} }
