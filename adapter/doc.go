// Package adapter puts the batches of writers in LSN order and keeps replaced
// writers out: the Queue on the leader, and Decide, its pair, on every replica.
// It is pure: it knows no clock, goroutine, I/O or raft.
package adapter
