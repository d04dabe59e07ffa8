// Package layout is how what a group has replayed is laid out as keys and values of a
// sorted database: the keys of batches, pages and keys with their versions, values in
// chunks with checksums, the changes of a page in one value, and what snapshots carry
// of them. Package lsm describes it.
// It reads by an iterator, and writes nothing.
package layout
