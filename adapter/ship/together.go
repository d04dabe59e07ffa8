package ship

import (
	"bytes"
	"context"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/asking"
	"github.com/pinetree-db/pinetree/adapter/ferry"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// onePage is a page as its reads name it.
type onePage pinetree.PageNo

// String names the page in errors.
func (p onePage) String() string { return fmt.Sprintf("page %d", uint64(p)) }

// newFerry makes what has single pages of the volume read together.
func (c *Client) newFerry() *ferry.Ferry[ReadConfig, onePage, PageRead] {
	return ferry.New(c.cfg.Gather, ferry.Ways[ReadConfig, onePage, PageRead]{
		Alone: func(ctx context.Context, cfg ReadConfig, page onePage) (PageRead, error) {
			return c.Reader(cfg).page(ctx, page)
		},
		Together: func(ctx context.Context, cfg ReadConfig, pages []onePage) ([]ferry.Outcome[PageRead], error) {
			return c.Reader(cfg).together(ctx, pages)
		},
		Begin: func(carry func(context.Context)) bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.ctx.Err() != nil {
				return false
			}
			c.tasks.Go(func() { carry(c.ctx) })
			return true
		},
	})
}

// page reads a page in a call of its own.
func (r *Reader) page(ctx context.Context, page onePage) (PageRead, error) {
	a, err := ask(ctx, r, question{what: page.String(), limit: r.limit()}, func(ctx context.Context, reads wirepb.ReadsClient) (*wirepb.PageResponse, error) {
		return reads.Page(ctx, &wirepb.PageRequest{Volume: r.volume(), Options: r.options(), Page: uint64(page)})
	})
	return PageRead{Served: served(a.GetServed()), Page: a.GetPage(), PageLSN: pinetree.LSN(a.GetPageLsn())}, err
}

// together reads pages in one call, which is not tried again: each of them is then
// read by itself, so that what stands in the way of one is nothing to the others.
// It may tell of fewer pages than were asked for.
func (r *Reader) together(ctx context.Context, pages []onePage) ([]ferry.Outcome[PageRead], error) {
	r.client.keepFresh()
	numbers := make([]uint64, len(pages))
	for i, page := range pages {
		numbers[i] = uint64(page)
	}
	a, err := once(ctx, r, question{what: "pages", limit: r.limit()}, func(ctx context.Context, conn *asking.Conn) (*wirepb.PagesResponse, error) {
		return r.client.reads(conn).Pages(ctx, &wirepb.PagesRequest{Volume: r.volume(), Options: r.options(), Pages: numbers})
	})
	if err != nil {
		return nil, err
	}
	by := served(a.Served)
	outcomes := make([]ferry.Outcome[PageRead], min(len(a.Pages), len(pages)))
	for i, p := range a.Pages[:len(outcomes)] {
		if !p.Found {
			outcomes[i].Err = fmt.Errorf("read %s: node %d: %w: it has no image at %s", pages[i], by.Node, pinetree.ErrNotFound, by.LSN)
			continue
		}
		// A copy, for those who keep one page are not to keep all of the answer.
		outcomes[i].Answer = PageRead{Served: by, Page: bytes.Clone(p.Page), PageLSN: pinetree.LSN(p.PageLsn)}
	}
	return outcomes, nil
}
