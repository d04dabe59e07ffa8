package memengine

import (
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// reader is the engine.Reader of one volume. It is stateless.
type reader struct {
	group *group
	id    pinetree.VolumeID
}

// Position implements engine.Reader.
func (r *reader) Position() pinetree.VolumePosition {
	r.group.store.mu.RLock()
	defer r.group.store.mu.RUnlock()
	return r.group.position.Volumes[r.id]
}

// state settles what a read at an LSN sees. The store's lock must be held.
func (r *reader) state(at pinetree.LSN) (*volume, pinetree.LSN, error) {
	g := r.group
	if g.store.groups[g.id] != g || g.store.closed {
		return nil, 0, g.failed
	}
	at, err := engine.ReadAt(r.id, g.position.Volumes[r.id], at)
	if err != nil {
		return nil, at, err
	}
	if v := g.volumes[r.id]; v != nil {
		return v, at, nil
	}
	return &volume{}, at, nil
}

// Page implements engine.Reader.
func (r *reader) Page(page pinetree.PageNo, at pinetree.LSN) (engine.PageRead, error) {
	r.group.store.mu.RLock()
	defer r.group.store.mu.RUnlock()
	v, at, err := r.state(at)
	if err != nil {
		return engine.PageRead{At: at}, err
	}
	image, lsn, ok := v.page(page, at)
	if !ok {
		return engine.PageRead{At: at}, fmt.Errorf("%w: page %d of volume %d at %s", pinetree.ErrNotFound, page, r.id, at)
	}
	return engine.PageRead{At: at, Page: image, PageLSN: lsn}, nil
}

// Get implements engine.Reader.
func (r *reader) Get(key []byte, at pinetree.LSN) (engine.KeyRead, error) {
	r.group.store.mu.RLock()
	defer r.group.store.mu.RUnlock()
	v, at, err := r.state(at)
	if err != nil {
		return engine.KeyRead{At: at}, err
	}
	item, ok := v.key(string(key), at)
	if !ok {
		return engine.KeyRead{At: at}, fmt.Errorf("%w: key %q of volume %d at %s", pinetree.ErrNotFound, key, r.id, at)
	}
	return engine.KeyRead{At: at, Value: item.Value, KeyLSN: item.LSN}, nil
}

// Range implements engine.Reader.
func (r *reader) Range(spec engine.RangeSpec) (engine.RangeRead, error) {
	r.group.store.mu.RLock()
	defer r.group.store.mu.RUnlock()
	v, at, err := r.state(spec.At)
	read := engine.RangeRead{At: at}
	if err != nil {
		return read, err
	}
	first, _ := slices.BinarySearch(v.names, string(spec.Start))
	for _, name := range v.names[first:] {
		if len(spec.End) > 0 && name >= string(spec.End) {
			break
		}
		item, ok := v.key(name, at)
		if !ok {
			continue
		}
		if len(read.Items) >= spec.Limit {
			read.More = true
			break
		}
		read.Items = append(read.Items, item)
	}
	return read, nil
}

// Log implements engine.Reader. The lock is not held while fn runs: it sees
// the log as it was when Log was called.
func (r *reader) Log(from pinetree.LSN, fn func(pinetree.Batch) error) error {
	log, err := r.log(from)
	if err != nil {
		return err
	}
	for _, b := range log {
		checked, _, err := storepb.DecodeBatch(b.Encoded)
		if err != nil {
			return err
		}
		if err := fn(checked); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) log(from pinetree.LSN) ([]pinetree.Batch, error) {
	r.group.store.mu.RLock()
	defer r.group.store.mu.RUnlock()
	// A log read is not bounded by from but by the newest state: only that
	// what it begins with is still there has to be checked.
	v, _, err := r.state(0)
	if err != nil {
		return nil, err
	}
	at := r.group.position.Volumes[r.id]
	if from < at.Truncated {
		return nil, &pinetree.TruncatedError{Volume: r.id, Asked: from, First: at.Truncated}
	}
	first := batchesUpTo(v.log, from)
	return v.log[first:len(v.log):len(v.log)], nil
}
