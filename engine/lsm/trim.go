package lsm

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/backlog"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	"github.com/pinetree-db/pinetree/engine/lsm/touched"
)

const (
	// trimBytes is about how much log is trimmed in one step, between which the
	// dropper rests and snapshots may begin. A step looks once at each page that it
	// finds changed, and syncs once or twice: with a megabyte, beside writes of
	// 20 MB/s, that took longer than the writes.
	trimBytes = 16 << 20
	// trimEntries is how many keys are removed in one commit, unless they are of one
	// page or key.
	trimEntries = 1024
)

// trimming is what the dropper knows of a group. Its lock is held during a step,
// and by a snapshot that begins or ends: none begins in the middle of one.
type trimming struct {
	mu        sync.Mutex
	snapshots int // that are open; nothing is trimmed meanwhile
	// trimmed is up to where the log of a volume is gone, as far as is known: a
	// search from its first key would go through all that was removed of late.
	trimmed    map[pinetree.VolumeID]pinetree.LSN
	generation layout.Generation // that trimmed is of
	cleaned    touched.Cleaned
}

// truncatesMore tells whether a volume is truncated further in the next position.
func truncatesMore(old, next pinetree.Position) bool {
	for id, v := range next.Volumes {
		if v.Truncated > old.Volumes[id].Truncated {
			return true
		}
	}
	return false
}

// trimSome removes what no read needs because its volume is truncated, durably, all
// of it or about as much as is worth asking for its space, and tells about how many
// bytes of log those were and whether there is more.
func (s *Store) trimSome() (bytes int, more bool, err error) {
	s.mu.Lock()
	groups := slices.Collect(maps.Values(s.groups))
	s.mu.Unlock()
	for _, g := range groups {
		for id, at := range g.Flushed().Volumes {
			for rest := at.Truncated > 0; rest; {
				step, stepErr := g.trim(id)
				if stepErr != nil && !g.removed.Load() {
					err = stepErr // of one volume; the others are trimmed
				}
				bytes, rest = bytes+step.bytes, step.more && stepErr == nil
				switch {
				case !rest:
				case bytes >= backlog.AskBytes:
					return bytes, true, err
				default:
					if err := s.dropPause(); err != nil {
						return bytes, false, err
					}
				}
			}
		}
	}
	return bytes, false, err
}

// trimStep is a part of a volume's log that is to go, and what it changed.
type trimStep struct {
	end     pinetree.LSN // of its last batch
	bytes   int
	more    bool
	changed touched.Set
}

// trim removes the beginning of a volume's log, as far as it is truncated in the
// flushed position, to which a crash takes the group back at worst.
//
// A version of a page or a key lost its use when a later one went below the
// truncated LSN, and that one is in the part of the log that goes, or was made an
// image since: so it is enough to look at those. The versions go first, durably, and the log
// after them: until it is gone, a crash only has the step made again.
func (g *group) trim(id pinetree.VolumeID) (step trimStep, err error) {
	if err := g.enter(); err != nil {
		return step, err
	}
	defer g.leave()
	g.trimming.mu.Lock()
	defer g.trimming.mu.Unlock()
	if g.trimming.snapshots > 0 {
		return step, nil
	}
	at := g.flushed.Load()
	if g.trimming.generation != at.generation || g.trimming.trimmed == nil {
		g.trimming.trimmed, g.trimming.generation = map[pinetree.VolumeID]pinetree.LSN{}, at.generation
	}
	begin := g.trimming.trimmed[id]
	v := view{store: g.store, keys: layout.KeysOf(g.id, at.generation, id), position: at.position.Volumes[id]}
	v.at = v.position.Truncated
	if step, err = v.beginning(begin); err != nil || step.end == 0 {
		return step, err
	}
	g.trimming.cleaned.Begin(touched.Truncation{Generation: at.generation, Volume: id, At: v.at}, &step.changed)
	if err := v.removeVersions(step); err != nil {
		return step, err
	}
	g.trimming.cleaned.Note(step.changed)
	if err := g.store.syncBefore(); err != nil {
		return step, err
	}
	for more := true; more; {
		if more, err = g.store.db.DeleteRange(v.keys.Batch(begin+1), v.keys.Batch(step.end+1)); err != nil {
			return step, err
		}
	}
	g.trimming.trimmed[id] = step.end
	return step, nil
}

// beginning reads the log above an LSN, some of it, but no batch that ends above
// the truncated one, and notes what it changed.
func (v view) beginning(above pinetree.LSN) (trimStep, error) {
	var step trimStep
	sorted.ReadAhead(v.store.db, v.keys.Batch(above+1), v.keys.Kind(layout.LogKind))
	last := v.keys.Batch(v.at)
	err := v.store.db.Scan(v.keys.Kind(layout.LogKind), func(it sorted.Iterator) error {
		for it.Seek(v.keys.Batch(above + 1)); it.Valid(); {
			key := it.Key()
			if len(key) != len(last)+layout.ChunkBytes {
				return layout.BadChunk(key, "not the key of a log batch")
			}
			if bytes.Compare(key[:len(last)], last) > 0 {
				return nil
			}
			if step.more = step.bytes >= trimBytes; step.more {
				return nil
			}
			lsn := pinetree.LSN(binary.BigEndian.Uint64(key[len(last)-8:]))
			value, err := layout.ReadValue(it)
			if err != nil {
				return err
			}
			step.bytes, step.end = step.bytes+len(value), lsn
			if v.position.Format != pinetree.FormatRedo {
				continue
			}
			if err := step.changed.Note(value); err != nil {
				return err
			}
		}
		return nil
	})
	return step, err
}

// removeVersions removes the versions without a use of what a step changed. Those
// that say that a key is not set go last, when the older ones are gone durably: no
// reader who looks while a commit is made, and no crash, may meet an older one alone.
func (v view) removeVersions(step trimStep) error {
	r := removals{store: v.store}
	var absent []entry
	for _, page := range slices.Sorted(maps.Keys(step.changed.Pages)) {
		gone, err := v.pageVersions(page)
		if err == nil {
			err = r.add(gone)
		}
		if err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(step.changed.Keys)) {
		gone, last, err := v.keyVersions(key)
		if err == nil {
			err = r.add(gone)
		}
		if err != nil {
			return err
		}
		absent = append(absent, last...)
	}
	if err := r.commit(); err != nil || len(absent) == 0 {
		return err
	}
	if err := v.store.syncBefore(); err != nil {
		return err
	}
	for part := range slices.Chunk(absent, trimEntries) {
		r.gone = part
		if err := r.commit(); err != nil {
			return err
		}
	}
	return nil
}

// removals are collected for few commits.
type removals struct {
	store *Store
	gone  []entry
}

// add removes keys, those that one commit takes in one commit.
func (r *removals) add(gone []entry) error {
	if len(gone) == 0 {
		return nil
	}
	if next := append(r.gone, gone...); r.store.inOneCommit(next) && len(next) <= trimEntries {
		r.gone = next
		return nil
	}
	err := r.commit()
	r.gone = append(r.gone, gone...)
	return err
}

func (r *removals) commit() error {
	for _, run := range r.store.traits.Split(r.gone) {
		if err := r.store.commitFreeing(run); err != nil {
			return err
		}
	}
	r.gone = nil
	return nil
}

func (s *Store) inOneCommit(entries []entry) bool { return len(s.traits.Split(entries)) <= 1 }

// pageVersions lists, as removals, what is older than the newest image of a page at
// or below the truncated LSN. A page without one keeps all its changes.
func (v view) pageVersions(page pinetree.PageNo) (gone []entry, err error) {
	name := v.keys.Page(page)
	err = v.store.db.Scan(name, func(it sorted.Iterator) error {
		based := false
		for it.Seek(layout.Version(bytes.Clone(name), v.at)); it.Valid(); {
			if based {
				gone = append(gone, entry{Key: bytes.Clone(it.Key()), Remove: true})
				it.Next()
				continue
			}
			first, err := layout.VersionLSN(name, it.Key())
			if err != nil {
				return err
			}
			value, err := layout.ReadValue(it)
			if err != nil {
				return err
			}
			if _, based, err = layout.DecodePage(value, first, v.at); err != nil {
				return err
			}
		}
		return nil
	})
	return gone, err
}

// keyVersions lists, as removals, what is older than the newest version of a key at
// or below the truncated LSN, and, to be removed after them, that one when it says
// that the key is not set.
func (v view) keyVersions(key string) (gone, last []entry, err error) {
	name := v.keys.Key([]byte(key))
	err = v.store.db.Scan(name, func(it sorted.Iterator) error {
		if it.Seek(layout.Version(bytes.Clone(name), v.at)); !it.Valid() {
			return nil
		}
		newest := entry{Key: bytes.Clone(it.Key()), Remove: true}
		_, present, err := readKeyVersion(it)
		if err != nil {
			return err
		}
		for ; it.Valid(); it.Next() {
			gone = append(gone, entry{Key: bytes.Clone(it.Key()), Remove: true})
		}
		if !present {
			last = []entry{newest}
		}
		return nil
	})
	return gone, last, err
}
