package database

import (
	"bytes"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

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
	entries []sorted.Entry
	size    int
	freeing bool // of space: see checkSpace
	rewrite bool // of values in the value log that are there: see valuesFirst
	done    bool
	err     error
}

// Commit implements sorted.Database: all in one transaction.
func (d *DB) Commit(c sorted.Change) error {
	logged := func(e sorted.Entry) bool { return len(e.Value) >= valueThreshold }
	return d.put(&request{entries: c.Entries, freeing: c.Freeing, rewrite: c.Rewrite && slices.ContainsFunc(c.Entries, logged)})
}

// maxDeletions bounds one transaction of DeleteRange.
const maxDeletions = 4096

// DeleteRange implements sorted.Database. Keys are deleted one by one, some at a
// time: badger's DropPrefix would refuse all writes meanwhile.
func (d *DB) DeleteRange(start, end []byte) (more bool, err error) {
	var gone []sorted.Entry
	var values []placed
	err = d.scan(commonPrefix(start, end), func(it iterator) error {
		for it.Seek(start); it.Valid() && bytes.Compare(it.Key(), end) < 0; it.Next() {
			if more = len(gone) == maxDeletions; more {
				return nil
			}
			gone = append(gone, sorted.Entry{Key: bytes.Clone(it.Key()), Remove: true})
			if at, is := placeOf(it.Item()); is {
				values = append(values, placed{at: at, size: it.Item().ValueSize()})
			}
		}
		return nil
	})
	if err != nil || len(gone) == 0 {
		return false, err
	}
	if err := d.put(&request{entries: gone, freeing: true}); err != nil {
		return false, err
	}
	for _, v := range values {
		d.deleted.add(v)
	}
	return more, nil
}

func commonPrefix(a, b []byte) []byte {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

func (d *DB) put(req *request) error {
	for _, e := range req.entries {
		req.size += e.Size()
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
	limits := d.Traits()
	d.queueMu.Lock()
	n, size, count := 0, 0, 0
	for ; n < len(d.queue); n++ {
		r := d.queue[n]
		if n > 0 && (r.freeing != d.queue[0].freeing || r.rewrite != d.queue[0].rewrite || size+r.size > limits.MaxCommitBytes || count+len(r.entries) > limits.MaxCommitEntries) {
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
		transact := func() error { return d.transact(batch) }
		if batch[0].rewrite {
			err = d.valuesFirst(transact)
		} else {
			err = transact()
		}
		if err != nil {
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
