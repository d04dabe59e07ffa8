// Package group imports what is above it, and from nowhere.
package group

import (
	"github.com/pinetree-db/pinetree/logservice"
	"github.com/pinetree-db/pinetree/nowhere"
)

// New has eight lines.
func New() []any {
	return []any{
		logservice.New,
		nowhere.New,
		1,
		2,
	}
}

var value = func() []any {
	return []any{
		1,
		2,
		3,
		4,
		5,
	}
}

func nine() {
	_ = func() {
		_ = []int{
			1,
			2,
			3,
		}
	}
}
