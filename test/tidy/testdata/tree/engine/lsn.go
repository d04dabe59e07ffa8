// Package engine has said what it is already.
package engine

// LSN is a type of its own.
type LSN uint64

type log struct{}

// Entries has its parameters from raft.Storage.
func (log) Entries(lo, hi, maxBytes uint64) {}

// Entries as a function has nobody to blame.
func Entries(lo, hi, maxBytes uint64) {}

type pair interface {
	Less(i, j int) bool
	Move(i, j int)
}
