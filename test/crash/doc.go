// Package crash ends the processes of whole replicas at every write, sync,
// rename and removal that they make, and fails these calls. Real hosts run over
// the real raft log store and a real engine, whose files are on disks in memory
// that forget what was not synced; the network is function calls and time is
// virtual. What is acknowledged must survive, once, in order and the same
// everywhere. It knows no process and no socket: test/e2e does.
//
// The default size takes a sample; `make crash` goes through all of it.
package crash
