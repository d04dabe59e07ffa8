// Package sim runs whole clusters on virtual time: the real replicas, raft log
// and engine in memory, lease rules and order of appends, around a network, disks,
// clocks, a manager, writers and readers that are simulated. One goroutine, one
// heap of events and one seeded generator: the same seed gives the same history
// in every run and process. Nodes lose what they did not sync, pause, drift and
// are cut off; package history checks what they promised. It knows no gRPC, no
// file and no wall clock.
package sim
