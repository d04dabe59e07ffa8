package lsm

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// reader is the engine.Reader of one volume. It takes the group's state first
// and then reads what is at or below its LSN, which never changes: so each call
// sees one state, though writes go on meanwhile.
type reader struct {
	group *group
	id    pinetree.VolumeID
}

// view is what one read sees.
type view struct {
	store    *Store
	keys     layout.VolumeKeys
	at       pinetree.LSN
	position pinetree.VolumePosition
	// tooLong is told of chains of a page's changes that are; nil when nobody is.
	tooLong func(page pinetree.PageNo, first pinetree.LSN)
}

// Position implements engine.Reader.
func (r *reader) Position() pinetree.VolumePosition {
	return r.group.Position().Volumes[r.id]
}

// enter begins a read and settles what it sees; leave ends it.
func (r *reader) enter(at pinetree.LSN) (view, error) {
	if err := r.group.enter(); err != nil {
		return view{}, err
	}
	v, err := r.view(at)
	if err != nil {
		r.group.leave()
	}
	return v, err
}

func (r *reader) leave() { r.group.leave() }

// seen is what comes of a read as of an LSN, after the last look into the database:
// when the volume was truncated above it meanwhile, some of what it was to see may
// have gone before it was seen.
func (r *reader) seen(at pinetree.LSN, err error) error {
	if first := r.Position().Truncated; at < first {
		return &pinetree.TruncatedError{Volume: r.id, Asked: at, First: first}
	}
	return err
}

func (r *reader) view(at pinetree.LSN) (view, error) {
	now := r.group.state.Load()
	position, ok := now.position.Volumes[r.id]
	if !ok {
		return view{}, fmt.Errorf("%w: volume %d is not in group %d any more", pinetree.ErrUnknownVolume, r.id, r.group.id)
	}
	at, err := engine.ReadAt(r.id, position, at)
	return view{store: r.group.store, keys: layout.KeysOf(r.group.id, now.generation, r.id), at: at, position: position, tooLong: r.tooLong}, err
}

// settled makes a read as of an LSN again if the state that it saw, the newest
// one, was truncated while it was read: a few times, for the machine may have more to
// do than it can.
func settled[T any](r *reader, at pinetree.LSN, read func() (T, error)) (T, error) {
	got, err := read()
	for tries := 1; tries < 10 && errors.Is(err, pinetree.ErrTruncated) && (at == 0 || at >= r.Position().Truncated); tries++ {
		got, err = read()
	}
	return got, err
}

// Page implements engine.Reader.
func (r *reader) Page(page pinetree.PageNo, at pinetree.LSN) (engine.PageRead, error) {
	return settled(r, at, func() (engine.PageRead, error) { return r.page(page, at) })
}

func (r *reader) page(page pinetree.PageNo, at pinetree.LSN) (engine.PageRead, error) {
	v, err := r.enter(at)
	if err != nil {
		return engine.PageRead{At: v.at}, err
	}
	defer r.leave()
	read, err := v.page(page)
	if err == errNoValue {
		err = fmt.Errorf("%w: page %d of volume %d at %s", pinetree.ErrNotFound, page, r.id, v.at)
	}
	if err = r.seen(v.at, err); err != nil {
		return engine.PageRead{At: v.at}, err
	}
	return read, nil
}

// page reads a page; errNoValue when nothing ever changed it.
func (v view) page(page pinetree.PageNo) (engine.PageRead, error) {
	read := engine.PageRead{At: v.at}
	c, err := v.chain(page)
	if err != nil {
		return read, err
	}
	if c.Empty() {
		return read, errNoValue
	}
	return v.replay(page, c), nil
}

// replay makes the page of a chain that is not empty.
func (v view) replay(page pinetree.PageNo, c layout.Chain) engine.PageRead {
	changes := c.Changes()
	read := engine.PageRead{At: v.at, Page: c.Replay(), PageLSN: c.Last}
	if v.tooLong != nil && (changes > longChain || c.Bytes > longChainBytes+2*len(read.Page)) {
		v.tooLong(page, c.First)
	}
	return read
}

// chain reads back to the last image.
func (v view) chain(page pinetree.PageNo) (c layout.Chain, err error) {
	err = v.store.db.Scan(v.keys.Page(page), func(it sorted.Iterator) (err error) {
		c, err = layout.ReadChain(it, v.keys, page, v.at)
		return err
	})
	return c, err
}

// Get implements engine.Reader.
func (r *reader) Get(key []byte, at pinetree.LSN) (engine.KeyRead, error) {
	return settled(r, at, func() (engine.KeyRead, error) { return r.get(key, at) })
}

func (r *reader) get(key []byte, at pinetree.LSN) (engine.KeyRead, error) {
	v, err := r.enter(at)
	read := engine.KeyRead{At: v.at}
	if err != nil {
		return read, err
	}
	defer r.leave()
	found := false
	name := v.keys.Key(key)
	err = v.store.db.Scan(name, func(it sorted.Iterator) error {
		if it.Seek(layout.Version(bytes.Clone(name), v.at)); !it.Valid() {
			return nil
		}
		lsn, err := layout.VersionLSN(name, it.Key())
		if err != nil {
			return err
		}
		value, present, err := readKeyVersion(it)
		if found = present; found {
			read.Value, read.KeyLSN = value, lsn
		}
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: key %q of volume %d at %s", pinetree.ErrNotFound, key, r.id, v.at)
	}
	if err = r.seen(v.at, err); err != nil {
		return engine.KeyRead{At: v.at}, err
	}
	return read, nil
}

// readKeyVersion reads the version that the iterator stands on.
func readKeyVersion(it sorted.Iterator) (value []byte, present bool, err error) {
	key := bytes.Clone(it.Key())
	value, err = layout.ReadValue(it)
	switch {
	case err != nil:
		return nil, false, err
	case len(value) > 0 && value[0] == layout.PresentVersion:
		return value[1:], true, nil
	case len(value) == 1 && value[0] == layout.AbsentVersion:
		return nil, false, nil
	}
	return nil, false, layout.BadChunk(key, "neither a value nor a deletion")
}

// Range implements engine.Reader.
func (r *reader) Range(spec engine.RangeSpec) (engine.RangeRead, error) {
	return settled(r, spec.At, func() (engine.RangeRead, error) { return r.list(spec) })
}

func (r *reader) list(spec engine.RangeSpec) (engine.RangeRead, error) {
	v, err := r.enter(spec.At)
	read := engine.RangeRead{At: v.at}
	if err != nil {
		return read, err
	}
	defer r.leave()
	err = v.store.db.Scan(v.keys.Kind(layout.KeyKind), func(it sorted.Iterator) error {
		return v.list(it, spec, &read)
	})
	if err = r.seen(v.at, err); err != nil {
		return engine.RangeRead{At: v.at}, err
	}
	return read, nil
}

// list walks from key to key. On each it seeks the version that is seen.
func (v view) list(it sorted.Iterator, spec engine.RangeSpec, read *engine.RangeRead) error {
	prefix := v.keys.Kind(layout.KeyKind)
	for it.Seek(layout.AppendEscaped(bytes.Clone(prefix), spec.Start)); it.Valid(); {
		name, key, err := layout.SplitKey(prefix, bytes.Clone(it.Key()))
		if err != nil {
			return err
		}
		if len(spec.End) > 0 && bytes.Compare(key, spec.End) >= 0 {
			return nil
		}
		lsn, err := layout.VersionLSN(name, it.Key())
		if err == nil && lsn > v.at {
			if it.Seek(layout.Version(bytes.Clone(name), v.at)); !it.Valid() {
				return nil
			}
			if !bytes.HasPrefix(it.Key(), name) {
				continue // the key is newer than what is read
			}
			lsn, err = layout.VersionLSN(name, it.Key())
		}
		if err != nil {
			return err
		}
		value, present, err := readKeyVersion(it)
		if err != nil {
			return err
		}
		if present && len(read.Items) >= spec.Limit {
			read.More = true
			return nil
		}
		if present {
			read.Items = append(read.Items, engine.Item{Key: key, Value: value, LSN: lsn})
		}
		if it.Valid() {
			it.Seek(layout.After(name)) // over the older versions
		}
	}
	return nil
}
