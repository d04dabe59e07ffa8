// Package adapter puts the batches of writers in LSN order and keeps replaced
// writers out: the Queue on the leader, and Decide, its pair, on every replica.
// OpenTerm and Resolve keep and read the history of compute terms that both go
// by. The package is pure: it knows no clock, goroutine, I/O or raft, and no
// volume but by its position.
package adapter
