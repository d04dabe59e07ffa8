package badgerengine

import (
	"fmt"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// committer makes badger's transactions, one at a time. Badger syncs once for
// each transaction; so what several groups want to write meanwhile waits in
// the queue and goes into the next one together.
type committer struct {
	queueMu sync.Mutex
	queue   []*request

	commitMu sync.Mutex // held by the one who commits; guards commitTs and the requests' results
	commitTs uint64     // of the last transaction
}

// request is a set of entries that must be written in one transaction.
type request struct {
	entries []entry
	size    int
	freeing bool // of space: see checkSpace
	done    bool
	err     error
}

// transactionLimits leave room for badger's own count.
func (s *Store) transactionLimits() (size, count int) {
	return int(s.db.MaxBatchSize()) - 4096, int(s.db.MaxBatchCount()) - 16
}

// commit writes entries in one transaction, durable on return. They must fit:
// see split. An error stops all writes of the store.
func (s *Store) commit(entries []entry) error { return s.put(&request{entries: entries}) }

// commitFreeing is commit for what makes room on the disk.
func (s *Store) commitFreeing(entries []entry) error {
	return s.put(&request{entries: entries, freeing: true})
}

func (s *Store) put(req *request) error {
	for _, e := range req.entries {
		req.size += e.size()
	}
	s.queueMu.Lock()
	s.queue = append(s.queue, req)
	s.queueMu.Unlock()

	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	for !req.done {
		s.commitNext()
	}
	return req.err
}

// commitNext commits the requests at the head of the queue, as many as one
// transaction takes. commitMu must be held.
func (s *Store) commitNext() {
	maxSize, maxCount := s.transactionLimits()
	s.queueMu.Lock()
	n, size, count := 0, 0, 0
	for ; n < len(s.queue); n++ {
		r := s.queue[n]
		if n > 0 && (r.freeing != s.queue[0].freeing || size+r.size > maxSize || count+len(r.entries) > maxCount) {
			break
		}
		size, count = size+r.size, count+len(r.entries)
	}
	batch := s.queue[:n:n]
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil // let go of the entries
	}
	s.queueMu.Unlock()

	err := s.failed.get()
	if err == nil {
		err = s.checkSpace(batch[0].freeing) // which may pass again later
	}
	if err == nil {
		if err = s.transact(batch); err != nil {
			s.fail(err)
			err = s.failed.get()
		}
	}
	for _, r := range batch {
		r.done, r.err = true, err
	}
}

// transact commits one transaction. Its timestamp rises; what it overwrites is
// of no more use, since readers read the newest and settle by position what
// they may see, so badger may discard it.
func (s *Store) transact(batch []*request) error {
	txn := s.db.NewTransactionAt(newest, true)
	defer txn.Discard()
	for _, r := range batch {
		for _, e := range r.entries {
			var err error
			if e.remove {
				err = txn.Delete(e.key)
			} else {
				err = txn.SetEntry(badger.NewEntry(e.key, e.value))
			}
			if err != nil {
				return err
			}
		}
	}
	s.commitTs++
	if err := txn.CommitAt(s.commitTs, nil); err != nil {
		return err
	}
	s.db.SetDiscardTs(s.commitTs)
	// Badger may have logged an error of its background work meanwhile.
	return s.failed.get()
}

// split cuts entries into runs that one transaction takes each, in order. The
// last run ends with the tail, which is not cut.
func (s *Store) split(entries []entry, tail []entry) ([][]entry, error) {
	maxSize, maxCount := s.transactionLimits()
	tailSize := 0
	for _, e := range tail {
		tailSize += e.size()
	}
	if tailSize > maxSize {
		return nil, fmt.Errorf("the position takes %d bytes, a transaction takes %d: spread the volumes over more groups", tailSize, maxSize)
	}
	var runs [][]entry
	first, size := 0, 0
	cut := func(end int) {
		if first < end {
			runs = append(runs, entries[first:end:end])
		}
		first, size = end, 0
	}
	for i, e := range entries {
		if size+e.size() > maxSize || i-first >= maxCount {
			cut(i)
		}
		size += e.size()
	}
	if size+tailSize > maxSize || len(entries)-first+len(tail) > maxCount {
		cut(len(entries))
	}
	return append(runs, append(entries[first:len(entries):len(entries)], tail...)), nil
}
