// Package pagestore is the compute side of a small database, to start one from:
// pages of 8 KiB, transactions on them, and a pool that holds some of the pages
// in memory. It keeps nothing on a disk of its own. What a transaction changes
// leaves as redo records, and a page that is not in the pool is read from the
// storage, which has replayed them. It knows no network: the Writer and the
// Reader of package ship do all of that.
//
// # What a compute node has to do itself
//
// Give every record an LSN: the end of the one before it and the record's own
// length. Ship the records of a transaction together, so that they become durable
// together, and tell nobody of the transaction before they are. Remember for a
// page that leaves the pool where its last change ends, so that the storage can be
// asked for it with that change. And after any failure begin from nothing: open
// the next compute term, take the log's durable end as the truth, and throw away
// what was in memory. docs/COMPUTE.md has that as one sequence.
//
// # What it leaves out
//
// One transaction at a time reads and changes pages; only the waits for their
// durability overlap. A transaction fits into one batch, so there is nothing to
// undo. There is no index, no checkpoint and no file.
package pagestore
