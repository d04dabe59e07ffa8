package lsm

import (
	"bytes"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Log implements engine.Reader. Besides each batch's checksum it checks that
// the batches follow on each other up to the applied LSN: a hole is reported
// and not skipped.
func (r *reader) Log(from pinetree.LSN, fn func(pinetree.Batch) error) error {
	position := r.Position()
	if err := r.checkTruncated(from, position); err != nil {
		return err
	}
	tail, first := max(from, position.Base), true // tail is where the log that fn has seen ends
	for tail < position.LSN {
		run, err := r.logRun(tail, position.LSN)
		if err != nil {
			return err
		}
		if len(run) == 0 {
			return r.hole(tail, "there is nothing more")
		}
		for _, encoded := range run {
			b, _, err := storepb.DecodeBatch(encoded)
			if err != nil {
				return err
			}
			// Only the first batch may begin before what was asked for.
			if b.LSN <= tail || b.Prev > tail || b.Prev < tail && !first {
				return r.hole(tail, fmt.Sprintf("batch (%s, %s] comes next", b.Prev, b.LSN))
			}
			if err := fn(b); err != nil {
				return err
			}
			tail, first = b.LSN, false
		}
	}
	return nil
}

func (r *reader) hole(tail pinetree.LSN, what string) error {
	return &pinetree.CorruptError{
		Where: fmt.Sprintf("log of volume %d after %s", r.id, tail),
		What:  fmt.Sprintf("%s, and the log is applied up to %s", what, r.Position().LSN),
	}
}

// logRun reads the batches that end above from, some of them, but none that
// ends above the end.
func (r *reader) logRun(from, end pinetree.LSN) ([][]byte, error) {
	v, err := r.enter(0)
	if err != nil {
		return nil, err
	}
	defer r.leave()
	if err := r.checkTruncated(from, v.position); err != nil {
		return nil, err
	}
	var run [][]byte
	last := v.keys.Batch(end)
	err = v.store.db.Scan(v.keys.Kind(layout.LogKind), func(it sorted.Iterator) error {
		it.Seek(v.keys.Batch(from + 1))
		for size := 0; size < runBytes && it.Valid(); {
			key := it.Key()
			if len(key) != len(last)+layout.ChunkBytes {
				return layout.BadChunk(key, "not the key of a log batch")
			}
			if bytes.Compare(key[:len(last)], last) > 0 {
				return nil
			}
			value, err := layout.ReadValue(it)
			if err != nil {
				return err
			}
			run, size = append(run, value), size+len(value)
		}
		return nil
	})
	return run, r.seen(from, err)
}

func (r *reader) checkTruncated(from pinetree.LSN, at pinetree.VolumePosition) error {
	if from < at.Truncated {
		return &pinetree.TruncatedError{Volume: r.id, Asked: from, First: at.Truncated}
	}
	return nil
}
