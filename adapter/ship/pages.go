package ship

import (
	"context"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// PagesRead is the answer of Pages: one PageOf for each page that was asked for,
// in that order. Served tells of the last call that it took.
type PagesRead struct {
	Served
	Pages []PageOf
}

// PageOf is one of many pages. Those that came in one answer share its memory, so
// that to keep one keeps all.
type PageOf struct {
	Found   bool // false for a page that was never written
	Page    []byte
	PageLSN pinetree.LSN // last change of the page
}

// Pages reads any number of pages of one state, in calls of up to 256 pages or
// about 4 MiB, those after the first one as of the LSN that the first one saw.
// A page that was never written is no error. All of them together are in memory
// when it returns.
func (r *Reader) Pages(ctx context.Context, pages []pinetree.PageNo) (PagesRead, error) {
	all := PagesRead{Pages: make([]PageOf, 0, len(pages))}
	left := make([]uint64, len(pages))
	for i, page := range pages {
		left[i] = uint64(page)
	}
	options := r.options()
	for len(left) > 0 {
		q := question{what: fmt.Sprintf("%d pages", len(left)), limit: r.limit()}
		a, err := ask(ctx, r, q, func(ctx context.Context, reads wirepb.ReadsClient) (*wirepb.PagesResponse, error) {
			return reads.Pages(ctx, &wirepb.PagesRequest{Volume: r.volume(), Options: options, Pages: left[:min(len(left), pagesAtOnce)]})
		})
		if err != nil {
			return PagesRead{}, err
		}
		if n := len(a.Pages); n == 0 || n > len(left) {
			return PagesRead{}, fmt.Errorf("read %s: node %d answered with %d", q.what, a.GetServed().GetNode(), n)
		}
		for _, p := range a.Pages {
			all.Pages = append(all.Pages, PageOf{Found: p.Found, Page: p.Page, PageLSN: pinetree.LSN(p.PageLsn)})
		}
		left = left[len(a.Pages):]
		all.Served = served(a.Served)
		if all.LSN == 0 { // an empty volume; zero would ask for the newest state of then
			all.Pages = append(all.Pages, make([]PageOf, len(left))...)
			break
		}
		options.At, options.MinLsn = uint64(all.LSN), max(options.MinLsn, uint64(all.LSN))
	}
	return all, nil
}

// pagesAtOnce is how many pages a call asks for: no node answers with more.
const pagesAtOnce = 256
