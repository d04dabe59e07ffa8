package database

import (
	"errors"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// settleShare is the part of what settling reads and writes again that it must
	// be expected to give back.
	settleShare = 4
	// settleRest is how often as long as it took the last settling lies back before
	// the next one, so that it never is more than a small part of the work.
	settleRest = 8
	// maxPause bounds the rest after each compaction. Badger makes no others
	// meanwhile.
	maxPause = 200 * time.Millisecond
	// flattenStep begins what Flatten tells the logger before each compaction, in
	// the goroutine that called it and with no lock held.
	flattenStep = "Attempting to compact with"
)

// settling is what the last one took.
type settling struct {
	ended time.Time
	took  time.Duration
}

// worthSettling tells whether compacting all tables into one level gives back
// enough for what it costs. A deletion gives something back only where it meets
// what it deletes, which is mostly in the last level; badger moves it there only
// with new data behind it. Deletions are small: where many of them wait, the levels
// above have many keys for their bytes.
func worthSettling(tables []badger.TableInfo) bool {
	var keys, below int64
	last := -1
	for _, t := range tables { // by level
		if t.Level > last {
			last, below = t.Level, 0
		}
		keys += int64(t.KeyCount)
		below += int64(t.KeyCount)
	}
	above := keys - below
	if last == 0 {
		above = keys
	}
	return above > 0 && above*settleShare >= below
}

// due tells whether enough time has passed.
func (s settling) due(now time.Time) bool { return now.Sub(s.ended) >= settleRest*s.took }

// settle makes deletions meet what they delete, which is when badger drops both. It
// compacts all tables into one level, a table and those below it at a time, and rests
// for as long as each took. Reads and writes go on. It ends when they have filled a
// memtable: beside writing badger compacts by itself, and the caller has log to remove.
func (d *DB) settle(pause func() error) error {
	start := time.Now()
	defer func() { d.settled = settling{ended: time.Now(), took: time.Since(start)} }()
	if err := d.leaveLevelZero(pause); err != nil {
		return err
	}
	began, err := d.files()
	if err != nil {
		return err
	}
	return d.flatten(func() error {
		if err := pause(); err != nil {
			return err
		}
		now, err := d.files()
		if err == nil && now.newestMemTable > began.newestMemTable {
			err = errEnough
		}
		return err
	}, 16+2*len(d.badger.Tables()))
}

// leaveLevelZero has badger compact the tables of level zero when there are no
// others. Flatten takes them for flat already, unless they are many.
func (d *DB) leaveLevelZero(pause func() error) error {
	for range d.badger.Opts().NumLevelZeroTables {
		tables := d.badger.Tables()
		if len(tables) == 0 || tables[len(tables)-1].Level > 0 || len(tables) > d.badger.Opts().NumLevelZeroTables {
			return nil
		}
		if err := d.cut(pause); err != nil {
			return err
		}
	}
	return nil
}

// interrupted ends Flatten by a panic out of the logger.
type interrupted struct{ err error }

var errEnough = errors.New("enough for now")

// flatten calls badger's Flatten, and ends it after some steps: beside much writing
// it may have no end.
func (d *DB) flatten(pause func() error, steps int) (err error) {
	defer func() {
		d.beforeStep = nil
		switch p := recover().(type) {
		case nil:
		case interrupted:
			if err = p.err; err == errEnough {
				err = nil
			}
		default:
			panic(p)
		}
	}()
	last := time.Now()
	d.beforeStep = func() {
		err := d.restFor(min(time.Since(last), maxPause), pause)
		if steps--; err == nil && steps < 0 {
			err = errEnough
		}
		if err != nil {
			panic(interrupted{err})
		}
		last = time.Now()
	}
	if err := d.badger.Flatten(1); err != nil {
		if strings.Contains(err.Error(), "Unable to fill tables") {
			return nil // nothing to be done by one compaction alone
		}
		d.Fail(err)
	}
	return d.Failed()
}

// restFor calls pause once or more often, and looks whether there is room for the
// next compaction.
func (d *DB) restFor(t time.Duration, pause func() error) error {
	for began := time.Now(); ; {
		if err := pause(); err != nil {
			return err
		}
		if time.Since(began) >= t {
			break
		}
	}
	if err := d.Failed(); err != nil {
		return err
	}
	return d.checkSpace(true)
}
