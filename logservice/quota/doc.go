// Package quota holds volumes to what their settings allow them to use of a node:
// log taken in a second, log kept, reads in a second. It waits, refuses and counts;
// it knows no gRPC, no raft and no engine, and is told the settings with each call,
// so that a change of them counts at once. Without any settings, too, it has the
// reads of much data of one volume take turns.
//
// Every node measures by itself. A volume's log is taken in by one leader at a
// time, so its ingest rate is that of the volume; its read rate is that of each
// node. Volumes without settings cost one look at them.
package quota
