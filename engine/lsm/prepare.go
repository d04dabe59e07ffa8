package lsm

import (
	"fmt"
	"sync/atomic"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/entries"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/pages"
)

// preparation is what belongs to whoever prepares writes.
type preparation struct {
	last    *prepared // the write prepared last; nil before there is one
	refused error     // why one could not be, so that none after it can
	// clean are the pages of a generation that no earlier crash has left anything
	// of above its position.
	clean    map[pinetree.VolumeID]*pages.Set
	cleanFor layout.Generation
}

// prepared is a write that is ready to be committed.
//
// Invariants:
//
//	old is the state that the write before leads to
//	pages is nil only once next, or what follows on it, is the group's state
type prepared struct {
	group     *group
	after     *prepared // the write before, if it was not applied when this one was prepared
	old, next *state
	runs      [][]entry // to be committed one after the other
	gone      []engine.MetaGone
	logBytes  int
	pages     atomic.Pointer[map[pinetree.VolumeID]*pages.Write]
}

var _ engine.Preparer = (*group)(nil)

// Prepare implements engine.Preparer.
func (g *group) Prepare(w engine.Write) (apply func() error, err error) {
	if err := g.store.enter(); err != nil {
		return nil, err
	}
	defer g.store.leave()
	p, err := g.prepare(w)
	if err != nil {
		return nil, err
	}
	return p.apply, nil
}

func (g *group) prepare(w engine.Write) (*prepared, error) {
	if err := g.failed.Get(); err != nil {
		return nil, err
	}
	if g.preparing.refused == nil {
		p, err := g.make(w)
		if err == nil {
			g.preparing.last = p
			return p, nil
		}
		g.preparing.refused = g.stuck(err)
	}
	return nil, g.preparing.refused
}

func (g *group) stuck(err error) error {
	return fmt.Errorf("group %d takes no more writes: %w", g.id, err)
}

// make reads what the write needs to know and changes nothing.
func (g *group) make(w engine.Write) (*prepared, error) {
	p := &prepared{group: g}
	if last := g.preparing.last; last != nil && last.pages.Load() != nil {
		if now := g.state.Load(); now != last.old && now != last.next {
			return nil, p.misplaced(w.Position.Index, "two writes are prepared and not applied, one may be")
		}
		p.after, p.old = last, last.next
	} else {
		p.old = g.state.Load()
	}
	if err := engine.CheckWrite(p.old.position, w); err != nil {
		return nil, err
	}
	made, err := entries.Of(w, p.volume)
	if err != nil {
		return nil, err
	}
	for _, b := range w.Batches {
		p.logBytes += b.Size()
	}
	p.next = &state{generation: p.old.generation, position: w.Position}
	if p.next.meta, p.gone, err = p.old.meta.Advance(w); err != nil {
		return nil, err
	}
	all, err := g.appendMetaWrites(made.Entries, p.old, w)
	if err != nil {
		return nil, err
	}
	p.after, p.runs = nil, g.store.traits.Split(all)
	p.pages.Store(&made.Pages)
	return p, nil
}

// volume is what is there of a volume before the write.
func (p *prepared) volume(id pinetree.VolumeID) entries.Volume {
	g, at := p.group, p.old.position.Volumes[id].LSN
	return entries.Volume{
		DB: g.store.db, Keys: layout.KeysOf(g.id, p.old.generation, id), At: at, Clean: g.cleanPages(id, p.old.generation),
		Page: func(page pinetree.PageNo) ([]byte, error) { return p.before(id, page) },
	}
}

// cleanPages are those of a volume that need no look for leftovers.
func (g *group) cleanPages(id pinetree.VolumeID, of layout.Generation) *pages.Set {
	prep := &g.preparing
	if prep.clean == nil || prep.cleanFor != of {
		prep.clean, prep.cleanFor = map[pinetree.VolumeID]*pages.Set{}, of
	}
	if prep.clean[id] == nil {
		prep.clean[id] = pages.NewSet()
	}
	return prep.clean[id]
}

// before is a page before the write; nil when there is none. What the write before
// does to it may not be in the database yet.
func (p *prepared) before(id pinetree.VolumeID, page pinetree.PageNo) ([]byte, error) {
	for {
		base := p.old
		read := func(page pinetree.PageNo) ([]byte, error) { return p.group.pageAt(base, id, page) }
		if p.after != nil {
			if waiting := p.after.pages.Load(); waiting != nil {
				base = p.after.old
				if change := (*waiting)[id]; change != nil {
					stored := read
					read = func(page pinetree.PageNo) ([]byte, error) { return change.After(page, stored) }
				}
			}
		}
		found, err := read(page)
		// When the write before was applied meanwhile, and the volume truncated with
		// it, some of what was to be read may have gone.
		if base == p.old || p.group.Position().Volumes[id].Truncated <= base.position.Volumes[id].LSN {
			return found, err
		}
	}
}

// pageAt is a page as of a state that is in the database; nil when there is none.
func (g *group) pageAt(of *state, id pinetree.VolumeID, page pinetree.PageNo) ([]byte, error) {
	v := view{store: g.store, keys: layout.KeysOf(g.id, of.generation, id), at: of.position.Volumes[id].LSN}
	read, err := v.page(page)
	if err == errNoValue {
		err = nil
	}
	return read.Page, err
}

// apply makes the write visible. It is called once. While the log that is truncated is
// not removed as fast as log is written, it waits for a moment: what is behind it
// waits with it, up to the writer whose window is full then.
func (p *prepared) apply() error {
	g := p.group
	if err := g.store.rest(g.store.dropper.backlog.Written(p.logBytes)); err != nil {
		return err
	}
	if err := g.store.enter(); err != nil {
		return err
	}
	defer g.store.leave()
	if err := g.failed.Get(); err != nil {
		return err
	}
	if err := p.commit(); err != nil {
		g.failed.Set(g.stuck(err))
		return g.failed.Get()
	}
	return nil
}

func (p *prepared) commit() error {
	g := p.group
	if now := g.state.Load(); now != p.old {
		return p.misplaced(p.next.position.Index, "the write was prepared to follow on index %d, and the engine is at index %d", p.old.position.Index, now.position.Index)
	}
	for _, run := range p.runs {
		if err := g.store.commit(run); err != nil {
			return err
		}
	}
	p.runs = nil
	if err := g.discard(p.next, p.gone); err != nil {
		return err
	}
	g.lost.Add(p.old.position, p.next.position)
	g.state.Store(p.next)
	p.pages.Store(nil)
	return nil
}

func (p *prepared) misplaced(index pinetree.RaftIndex, format string, args ...any) error {
	return &pinetree.CorruptError{Where: fmt.Sprintf("replay of group %d up to raft index %d", p.group.id, index), What: fmt.Sprintf(format, args...)}
}
