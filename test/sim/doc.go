// Package sim runs whole clusters on virtual time: the real replicas, raft log
// and engine in memory, lease rules, order of appends and manager's policy,
// around a network, disks, clocks, etcd, writers and readers that are simulated.
// One goroutine, one heap of events and one seeded generator: the same seed
// gives the same history in every run and process. Nodes lose what they did not
// sync, pause, drift and are cut off; package history checks what they promised.
// It knows no gRPC, no file and no wall clock.
//
// A failed seed prints the command that repeats it; with -sim.trace everything
// that happens is written, the replicas' own log lines too. A new kind of fault
// is a method in nemesis.go that a theme lists; what it is to bring about is a
// Mark, so that a suite in which it never does so fails. A bug that the checkers
// must see is a Mutant; where it is in the simulated shell it is a line there,
// and TestEveryMutantIsCaught looks for it.
package sim
