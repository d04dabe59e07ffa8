package database

import (
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

const (
	// fileLookShare is the part of a file of the value log that must have been deleted
	// since the last look at it for another look, and logLookShare that of the whole
	// value log.
	fileLookShare, logLookShare = 8, 2
	// firstLooks bounds how many files are looked at in one go that were there when
	// the database was opened.
	firstLooks = 64
	// movedBytes is about how much is moved in one commit, while others wait.
	movedBytes = 4 << 20
)

// deletions counts the bytes of values that DeleteRange has deleted from the value
// log.
type deletions struct {
	mu     sync.Mutex
	total  int64
	byFile map[uint32]int64
}

func (c *deletions) add(v placed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byFile == nil {
		c.byFile = map[uint32]int64{}
	}
	c.total += v.size
	c.byFile[v.at.file] += v.size
}

func (c *deletions) of(file uint32) look {
	c.mu.Lock()
	defer c.mu.Unlock()
	return look{file: c.byFile[file], log: c.total}
}

func (c *deletions) forget(file uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byFile, file)
}

// look is how many bytes were deleted of a file, and of the whole value log, up to a
// look at the file; or how many there are.
type look struct{ file, log int64 }

// due tells that there may be much more to be found now. What deletes most, the end of
// a log, is counted; what is deleted key by key is not, and comes with it.
func (l look) due(now, size look) bool {
	return now.file-l.file >= size.file/fileLookShare || now.log-l.log >= size.log/logLookShare
}

var _ sorted.Reclaimer = (*DB)(nil)

// Reclaim implements sorted.Reclaimer.
func (d *DB) Reclaim(dropped bool, pause func() error) error {
	if dropped {
		if err := d.cut(pause); err != nil {
			return err
		}
	}
	if err := d.reclaimValues(pause); err != nil {
		return err
	}
	if !d.settled.due(time.Now()) || !worthSettling(d.badger.Tables()) {
		return nil
	}
	return d.settle(pause)
}

// reclaimValues gives back the files of the value log of which half or more is of no
// use. Badger would know of a value that was deleted only once a compaction has met
// the deletion and the key, which beside constant writing is long after; and it would
// hold all commits for as long as it takes to read the file.
func (d *DB) reclaimValues(pause func() error) error {
	files, err := d.closedValueFiles()
	if err != nil {
		return err
	}
	var log int64
	for _, f := range files {
		log += f.size
	}
	if d.looks == nil {
		d.looks = map[uint32]look{}
	}
	first := 0
	for _, f := range files {
		now := d.deleted.of(f.number)
		last, looked := d.looks[f.number]
		if !looked && f.number >= d.opened { // what is in it was of use when it was written
			last, looked = look{log: now.log}, true
			d.looks[f.number] = last
		}
		if !looked {
			first++
		}
		if looked && !last.due(now, look{file: f.size, log: log}) || first > firstLooks {
			continue
		}
		d.looks[f.number] = now
		if err := d.reclaimFile(f, pause); err != nil {
			return err
		}
	}
	return nil
}

// reclaimFile looks at one file, and moves what is of use out of it if that is half
// of it or less.
func (d *DB) reclaimFile(f valueFile, pause func() error) error {
	living, err := d.livingIn(f, pause)
	if err != nil {
		return err
	}
	var size int64
	for _, v := range living {
		size += v.size
	}
	if size > f.size/2 {
		return pause()
	}
	if err := d.move(living, pause); err != nil {
		return err
	}
	d.release(f.number)
	delete(d.looks, f.number)
	d.deleted.forget(f.number)
	return pause()
}

// move writes values once more, durably.
func (d *DB) move(living []placed, pause func() error) error {
	limits := d.Traits()
	most := min(movedBytes, int64(limits.MaxCommitBytes))
	for len(living) > 0 {
		if err := d.Sync(); err != nil { // so that what moveSome syncs is little
			return err
		}
		n, size := 0, int64(0)
		for n < len(living) && n < limits.MaxCommitEntries && (n == 0 || size+living[n].size <= most) {
			size += living[n].size
			n++
		}
		if err := d.moveSome(living[:n]); err != nil {
			return err
		}
		living = living[n:]
		if err := pause(); err != nil {
			return err
		}
	}
	return d.Sync()
}

// moveSome does so in one commit, with what still is where it was.
func (d *DB) moveSome(living []placed) (err error) {
	defer d.panicIsDamage(&err)
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	if err = d.Failed(); err == nil {
		err = d.checkSpace(true)
	}
	if err != nil {
		return err
	}
	txn := d.badger.NewTransactionAt(newest, false)
	defer txn.Discard()
	moved := &request{}
	for _, v := range living {
		at, item, err := lookup(txn, v.key)
		if err != nil {
			return err
		}
		if item == nil || at != v.at {
			continue
		}
		value, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		moved.entries = append(moved.entries, sorted.Entry{Key: v.key, Value: value})
	}
	if len(moved.entries) == 0 {
		return nil
	}
	if err := d.valuesFirst(func() error { return d.transact([]*request{moved}) }); err != nil {
		d.Fail(err)
	}
	return d.Failed()
}

// release has badger delete a file of the value log of which nothing is of use.
// Badger does as the last iterator is closed, for one that is open may have found
// keys that were moved where they were: so an iterator is opened, and closed behind
// the order.
func (d *DB) release(file uint32) {
	txn := d.badger.NewTransactionAt(newest, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(scratchKey)})
	defer it.Close()
	d.hidden.filesLock.Lock()
	defer d.hidden.filesLock.Unlock()
	*d.hidden.doomed = append(*d.hidden.doomed, file)
}
