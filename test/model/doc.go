// Package model compares engines with a model: a large number of random changes
// of pages and keys is replayed, and what is read at random LSNs on the way must
// be what the model says, across restarts with and without a flush, truncation,
// the shortening of long chains, and snapshots to new stores. Replicas that
// replay the same log, cut otherwise, have equal digests at many LSNs. It knows
// engines by their contract, and chooses some.
package model
