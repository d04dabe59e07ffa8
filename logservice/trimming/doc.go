// Package trimming decides how much of a volume is kept. Its settings say for how
// long and how much; slots hold the log for readers that are named; what is not
// surely on a replica's disk stays in any case. It is pure: it knows no clock, no
// engine and no raft. What all replicas must decide alike depends on nothing but
// the replayed log (Change); what the leader proposes depends on what it remembers
// of the volume's past (History).
package trimming
