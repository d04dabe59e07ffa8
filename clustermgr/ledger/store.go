package ledger

import (
	"context"
	"errors"
)

// Errors of a Store.
var (
	// ErrConflict: a key does not have the revision that was expected.
	ErrConflict = errors.New("changed by somebody else")
	// ErrNotActive: the office is over; another manager is or will be active.
	// Nothing was changed.
	ErrNotActive = errors.New("not the active cluster manager any more")
	// ErrInterrupted: the office ended while a change was being made, and nobody
	// heard whether it was.
	ErrInterrupted = errors.New("the cluster manager lost its office in the middle of a decision, which may have been made or not")
)

// Store is the durable memory of the cluster managers, shared by all of them
// and changed by compare-and-swap only. Every method may be called concurrently.
// An error other than the two above leaves it open whether a change was made.
type Store interface {
	// Campaign waits until this process is the active manager. The address is
	// what the others name to those who ask them.
	Campaign(ctx context.Context, address string) (Office, error)
	// Confirm returns nil only when the office was held at some instant during
	// the call, and ErrNotActive when it is over.
	Confirm(ctx context.Context, office Office) error
	// Resign ends the office, so that the next manager need not wait.
	Resign(ctx context.Context, office Office) error
	// Watch tells the address of the active manager, empty when there is none, at
	// once and again whenever it changes, until ctx ends, which is no error, or
	// the store does not answer. It calls tell from one goroutine.
	Watch(ctx context.Context, tell func(address string)) error
	// Read returns the entries whose keys begin with the prefix, in the order
	// of their keys, all as of one instant during the call.
	Read(ctx context.Context, prefix string) ([]Entry, error)
	// Swap makes all the changes, durably on return, or none of them: ErrConflict
	// when a key is not as expected, ErrNotActive when the office is over. It
	// returns the new revision of every key that was put. A key occurs once.
	Swap(ctx context.Context, office Office, changes []Change) (int64, error)
	// Close gives up the connection and any office.
	Close() error
}

// Office proves that a manager is the active one. It ends when the store no
// longer hears from the process that holds it.
type Office struct {
	Name     string
	Revision int64
}

// Entry is one key with its value. Revision rises with each change of the key.
type Entry struct {
	Key      string
	Value    []byte
	Revision int64
}

// AnyRevision expects nothing of a key.
const AnyRevision int64 = -1

// Decision is what is recorded in one step or not at all: the changes, and the
// events that tell of them. Without changes there is nothing to record.
type Decision struct {
	Changes []Change
	Events  []Event
}

// Decide makes the decision of which one event tells.
func Decide(tells Event, changes ...Change) Decision {
	return Decision{Changes: changes, Events: []Event{tells}}
}

// Change puts or, with a nil value, deletes a key, if the key still has the
// expected revision: zero expects that there is no such key.
type Change struct {
	Key    string
	Value  []byte
	Expect int64
}
