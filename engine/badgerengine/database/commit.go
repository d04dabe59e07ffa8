package database

import (
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// Entry is a key and its value, or the removal of a key.
type Entry struct {
	Key, Value []byte
	Remove     bool
}

// size is what the entry takes in a badger transaction, with some to spare.
func (e Entry) size() int { return len(e.Key) + len(e.Value) + 32 }

// committer makes badger's transactions, one at a time. What several groups
// want to write meanwhile waits in the queue and goes into the next one
// together.
type committer struct {
	queueMu sync.Mutex
	queue   []*request

	commitMu sync.Mutex // held by the one who commits; guards commitTs and the requests' results
	commitTs uint64     // of the last transaction
}

// request is a set of entries that must be written in one transaction.
type request struct {
	entries []Entry
	size    int
	freeing bool // of space: see checkSpace
	done    bool
	err     error
}

// transactionLimits leave room for badger's own count.
func (d *DB) transactionLimits() (size, count int) {
	return int(d.badger.MaxBatchSize()) - 4096, int(d.badger.MaxBatchCount()) - 16
}

// Commit writes entries in one transaction, which Sync makes durable. They must
// fit: see Split. It is pinetree.ErrDiskFull while the reserve of free space is
// touched; any other error stops all writes for good.
func (d *DB) Commit(entries []Entry) error { return d.put(&request{entries: entries}) }

// CommitDurably is Commit and Sync.
func (d *DB) CommitDurably(entries []Entry) error {
	if err := d.Commit(entries); err != nil {
		return err
	}
	return d.Sync()
}

// CommitFreeing is Commit for what makes room on the disk.
func (d *DB) CommitFreeing(entries []Entry) error {
	return d.put(&request{entries: entries, freeing: true})
}

func (d *DB) put(req *request) error {
	for _, e := range req.entries {
		req.size += e.size()
	}
	d.queueMu.Lock()
	d.queue = append(d.queue, req)
	d.queueMu.Unlock()

	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	for !req.done {
		d.commitNext()
	}
	return req.err
}

// commitNext commits the requests at the head of the queue, as many as one
// transaction takes. commitMu must be held.
func (d *DB) commitNext() {
	maxSize, maxCount := d.transactionLimits()
	d.queueMu.Lock()
	n, size, count := 0, 0, 0
	for ; n < len(d.queue); n++ {
		r := d.queue[n]
		if n > 0 && (r.freeing != d.queue[0].freeing || size+r.size > maxSize || count+len(r.entries) > maxCount) {
			break
		}
		size, count = size+r.size, count+len(r.entries)
	}
	batch := d.queue[:n:n]
	if d.queue = d.queue[n:]; len(d.queue) == 0 {
		d.queue = nil // let go of the entries
	}
	d.queueMu.Unlock()

	err := d.Failed()
	if err == nil {
		err = d.checkSpace(batch[0].freeing) // which may pass again later
	}
	if err == nil {
		if err = d.transact(batch); err != nil {
			d.Fail(err)
			err = d.Failed()
		}
	}
	for _, r := range batch {
		r.done, r.err = true, err
	}
}

// transact commits one transaction. Its timestamp rises; what it overwrites is
// of no more use, since readers read the newest and settle by position what
// they may see, so badger may discard it.
func (d *DB) transact(batch []*request) error {
	txn := d.badger.NewTransactionAt(newest, true)
	defer txn.Discard()
	for _, r := range batch {
		for _, e := range r.entries {
			var err error
			if e.Remove {
				err = txn.Delete(e.Key)
			} else {
				err = txn.SetEntry(badger.NewEntry(e.Key, e.Value))
			}
			if err != nil {
				return err
			}
		}
	}
	d.commitTs++
	if err := txn.CommitAt(d.commitTs, nil); err != nil {
		return err
	}
	d.badger.SetDiscardTs(d.commitTs)
	// Badger may have logged an error of its background work meanwhile.
	return d.Failed()
}

// Split cuts entries into runs that one transaction takes each, in order.
func (d *DB) Split(entries []Entry) (runs [][]Entry) {
	maxSize, maxCount := d.transactionLimits()
	first, size := 0, 0
	for i, e := range entries {
		if i > first && (size+e.size() > maxSize || i-first >= maxCount) {
			runs = append(runs, entries[first:i:i])
			first, size = i, 0
		}
		size += e.size()
	}
	if first < len(entries) {
		runs = append(runs, entries[first:])
	}
	return runs
}
