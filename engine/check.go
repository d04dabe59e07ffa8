package engine

import (
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree"
)

// CheckWrite is the engine's half of a pair of checks: the group replays only
// what directly follows, and an engine takes nothing else. It reports a
// *pinetree.CorruptError when the index does not rise, when a batch is not the
// next of its volume, when the position that is written with the batches is
// not the one that they lead to, when a volume's format is unknown, or when the
// metadata's part of a position changes without the metadata.
func CheckWrite(old pinetree.Position, w Write) error {
	if w.Position.Index <= old.Index {
		return misplaced(fmt.Sprintf("raft index %d", w.Position.Index), "the engine has replayed up to index %d", old.Index)
	}
	tails := map[pinetree.VolumeID]pinetree.LSN{}
	for _, b := range w.Batches {
		tail, seen := tails[b.Volume]
		if !seen {
			tail = start(old.Volumes[b.Volume], w.Position.Volumes[b.Volume])
		}
		if b.Prev != tail {
			return misplaced(fmt.Sprintf("batch (%s, %s] of volume %d", b.Prev, b.LSN, b.Volume), "the log ends at %s, a batch that follows on it was expected", tail)
		}
		tails[b.Volume] = b.LSN
	}
	for id, v := range w.Position.Volumes {
		tail, changed := tails[id]
		if !changed {
			tail = start(old.Volumes[id], v)
		}
		if v.LSN != tail {
			return misplaced(fmt.Sprintf("volume %d", id), "the position says %s, the batches end at %s", v.LSN, tail)
		}
		if changed && v.Format != pinetree.FormatOpaque && v.Format != pinetree.FormatRedo {
			return misplaced(fmt.Sprintf("volume %d", id), "format %d, this build replays %d and %d", v.Format, pinetree.FormatOpaque, pinetree.FormatRedo)
		}
		delete(tails, id)
		if o := old.Volumes[id]; v.MetaRevision != o.MetaRevision || v.MetaCompacted != o.MetaCompacted || v.MetaBytes != o.MetaBytes {
			if !slices.ContainsFunc(w.Meta, func(m MetaWrite) bool { return m.Volume == id }) {
				return misplaced(fmt.Sprintf("volume %d", id), "the position says metadata of revision %d, nothing changes that of revision %d", v.MetaRevision, o.MetaRevision)
			}
		}
	}
	for id := range tails {
		return misplaced(fmt.Sprintf("volume %d", id), "it has batches but no position")
	}
	return nil
}

// start is where a volume's log goes on: its end or, when it is empty, the
// base that a fence of the same write may have set.
func start(old, next pinetree.VolumePosition) pinetree.LSN {
	if old.LSN == 0 {
		return next.Base
	}
	return old.LSN
}

func misplaced(where, format string, args ...any) error {
	return &pinetree.CorruptError{Where: "replay of " + where, What: fmt.Sprintf(format, args...)}
}

// ReadAt settles which state a read of a volume sees: at itself, or the newest
// when at is zero or above it. Below the truncated LSN it is a
// *pinetree.TruncatedError.
func ReadAt(id pinetree.VolumeID, v pinetree.VolumePosition, at pinetree.LSN) (pinetree.LSN, error) {
	if at == 0 || at > v.LSN {
		at = v.LSN
	}
	if at < v.Truncated {
		return at, &pinetree.TruncatedError{Volume: id, Asked: at, First: v.Truncated}
	}
	return at, nil
}
