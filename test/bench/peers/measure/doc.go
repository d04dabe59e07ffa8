// Package measure counts what a load took: latencies, processor time and memory
// of processes on Linux. It knows nothing of records or servers.
//
// The bytes that a process writes to disk are not among it: the kernel counts
// them in folios, of which a large one that is written to in one place counts
// as a whole.
package measure
