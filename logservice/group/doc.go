// Package group is the raft loop of one replica as a state machine: raft
// without self-election, the order and fence of each volume, acknowledgement at
// commit, appointment and transfer, quorum reads, and what committed entries
// change. It has no goroutine, clock or I/O: package host drives it, and so does
// the simulation. It knows no gRPC and no files.
package group
