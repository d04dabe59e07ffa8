package lsm

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

var _ engine.PagesReader = (*reader)(nil)

// Pages implements engine.PagesReader: one iterator reads all of them, where
// to make one is a good part of what a page costs.
func (r *reader) Pages(pages []pinetree.PageNo, at pinetree.LSN, maxBytes int) (engine.PagesRead, error) {
	return settled(r, at, func() (engine.PagesRead, error) { return r.pages(pages, at, maxBytes) })
}

func (r *reader) pages(pages []pinetree.PageNo, at pinetree.LSN, maxBytes int) (engine.PagesRead, error) {
	v, err := r.enter(at)
	if err != nil {
		return engine.PagesRead{At: v.at}, err
	}
	defer r.leave()
	all := engine.PagesRead{At: v.at, Pages: make([]engine.PageOf, 0, len(pages))}
	err = v.store.db.Scan(v.keys.Kind(layout.PageKind), func(it sorted.Iterator) error {
		size := 0
		for _, page := range pages {
			c, err := layout.ReadChain(it, v.keys, page, v.at)
			if err != nil {
				return err
			}
			var one engine.PageOf
			if !c.Empty() {
				read := v.replay(page, c)
				one = engine.PageOf{Found: true, Page: read.Page, PageLSN: read.PageLSN}
			}
			all.Pages = append(all.Pages, one)
			if size += len(one.Page); size >= maxBytes {
				break
			}
		}
		return nil
	})
	if err = r.seen(v.at, err); err != nil {
		return engine.PagesRead{At: v.at}, err
	}
	return all, nil
}
