// Package refusal words what a cluster manager does not do, so that it travels
// as one of the root package's errors.
package refusal

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pinetree-db/pinetree"
)

// refusal is an error in plain words that still is the sentinel it holds.
type refusal struct {
	words string
	cause error
}

func (r *refusal) Error() string { return r.words }
func (r *refusal) Unwrap() error { return r.cause }

// As makes an error that travels as the sentinel.
func As(sentinel error, format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...), sentinel}
}

// NotYet makes an error for a request that is right and too early.
func NotYet(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, args...)
}

// NotActive sends the caller to the active manager; empty when none is known.
func NotActive(active string) error {
	words := "this cluster manager is not the active one and knows none; try again or ask another"
	if active != "" {
		words = "this cluster manager is not the active one; ask " + active
	}
	return &refusal{words, &pinetree.NotLeaderError{Addr: active}}
}

// Interrupted is for what had begun when the office ended. Unlike what NotActive
// refuses it is not to be tried again blindly.
func Interrupted() error {
	return status.Error(codes.Unavailable, "this cluster manager lost its office in the middle of this, which may have been done or not; "+
		"the next active one knows, and finishes what was recorded: look before you try again")
}
