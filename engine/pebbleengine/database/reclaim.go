package database

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

const (
	// reclaimShare is the part of what compacting everything reads and writes again
	// that it must be expected to give back.
	reclaimShare = 4
	// reclaimRest is how often as long as it took the last time lies back before the
	// next one, so that it never is more than a small part of the work.
	reclaimRest = 8
	// reclaimBytes is about what one compaction takes of the last level.
	reclaimBytes = 32 << 20
	// statsLimit is how long Reclaim waits for what pebble estimates of new tables.
	statsLimit = 5 * time.Second
)

var _ sorted.Reclaimer = (*DB)(nil)

// reclaiming is what the last compaction of everything took.
type reclaiming struct {
	ended time.Time
	took  time.Duration
}

// Reclaim implements sorted.Reclaimer. Pebble gives space back by itself as long as
// something is written. What was removed counts only once that is in a table: so the
// memtable becomes one. When much of what is in tables has no more use, they are
// compacted from the first key to the last, a part of the last level at a time, until
// as much as a memtable was written beside that: then pebble does it by itself, and the
// caller has log to remove.
func (d *DB) Reclaim(dropped bool, pause func() error) error {
	if dropped {
		if err := d.background(d.pebble.Flush); err != nil {
			return err
		}
	}
	tables, err := d.tables(pause)
	if err != nil || !worthCompacting(tables) || time.Since(d.reclaimed.ended) < reclaimRest*d.reclaimed.took {
		return d.damage(err)
	}
	began, written := time.Now(), d.written()
	defer func() { d.reclaimed = reclaiming{ended: time.Now(), took: time.Since(began)} }()
	var start []byte
	for _, end := range parts(tables) {
		if bytes.Compare(start, end) >= 0 {
			continue
		}
		err := d.compact(start, end, func() error {
			if d.written()-written >= uint64(d.options.MemTableBytes) {
				return errEnough
			}
			return pause()
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
		start = end
	}
	return nil
}

// errEnough ends a compaction that has others beside it to wait for.
var errEnough = errors.New("enough was written meanwhile")

// written is how many bytes went to pebble's log since it was opened.
func (d *DB) written() uint64 { return d.pebble.Metrics().WAL.BytesIn }

// compact compacts a range, and waits for it until pause has an error. What pebble is
// about then it does to the end.
func (d *DB) compact(start, end []byte, pause func() error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- d.background(func() error {
			err := d.pebble.Compact(ctx, start, end, false)
			if ctx.Err() != nil {
				return nil
			}
			return err
		})
	}()
	for {
		if err := pause(); err != nil {
			cancel()
			return errors.Join(err, <-done)
		}
		select {
		case err := <-done:
			return err
		default:
		}
	}
}

// background is for what pebble would do by itself in its own time.
func (d *DB) background(fn func() error) error {
	if err := d.checkSpace(true); err != nil {
		return err
	}
	if err := caught(fn); err != nil {
		d.fail(err)
	}
	return d.Failed()
}

// tables lists the tables by level, once pebble has looked at all of them, which it
// does in the background.
func (d *DB) tables(pause func() error) (levels [][]pebble.SSTableInfo, err error) {
	for began := time.Now(); ; {
		err = caught(func() (err error) {
			levels, err = d.pebble.SSTables()
			return err
		})
		if err != nil || looked(levels) || time.Since(began) > statsLimit {
			return levels, err
		}
		if err := pause(); err != nil {
			return nil, err
		}
	}
}

func looked(levels [][]pebble.SSTableInfo) bool {
	for _, tables := range levels {
		for _, t := range tables {
			if t.TableStats.NumEntries == 0 {
				return false
			}
		}
	}
	return true
}

// worthCompacting tells whether compacting all tables gives back enough for what it
// costs: by how many of their entries are deletions, or by what pebble estimates that
// these give back. Of what is deleted in level zero it estimates nothing, so all of
// that level counts once there is a deletion in it.
func worthCompacting(levels [][]pebble.SSTableInfo) bool {
	var garbage, size, deletions, entries uint64
	for level, tables := range levels {
		for _, t := range tables {
			size += t.Size
			garbage += t.TableStats.PointDeletionsBytesEstimate + t.TableStats.RangeDeletionsBytesEstimate
			deletions += t.TableStats.NumDeletions
			entries += t.TableStats.NumEntries
		}
		if level == 0 && deletions > 0 {
			garbage += size
		}
	}
	return deletions > 0 && (garbage*reclaimShare >= size || deletions*reclaimShare >= entries)
}

// parts are the ends of the parts that one compaction takes each. The last level with
// tables counts, for it is the largest.
func parts(levels [][]pebble.SSTableInfo) (ends [][]byte) {
	var last []byte
	for _, tables := range levels {
		var size uint64
		if len(tables) > 0 {
			ends = nil
		}
		for _, t := range tables {
			if size += t.Size; size >= reclaimBytes {
				ends, size = append(ends, t.Largest.UserKey), 0
			}
			if bytes.Compare(t.Largest.UserKey, last) > 0 {
				last = t.Largest.UserKey
			}
		}
	}
	return append(ends, append(bytes.Clone(last), 0))
}
