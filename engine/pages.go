package engine

import (
	"errors"

	"github.com/pinetree-db/pinetree"
)

const (
	// MaxPages is how many pages one ReadPages reads at most.
	MaxPages = 256
	// MaxPagesBytes is about how many bytes of pages one ReadPages returns: the
	// page that goes beyond it is the last one.
	MaxPagesBytes = 4 << 20
)

// PagesReader is what a Reader implements that reads many pages at less cost
// than one after the other.
type PagesReader interface {
	// Pages reads pages of one state, in the order asked for. It stops after the
	// page with which they have maxBytes, so that it may return fewer than asked
	// for, but never none of some.
	Pages(pages []pinetree.PageNo, at pinetree.LSN, maxBytes int) (PagesRead, error)
}

// PagesRead is the answer to ReadPages: the first pages of those that were asked
// for, as of one LSN.
type PagesRead struct {
	At    pinetree.LSN
	Pages []PageOf
}

// PageOf is one of many pages.
type PageOf struct {
	Found   bool   // false for a page that has no image at that LSN
	Page    []byte // must not be changed
	PageLSN pinetree.LSN
}

// ReadPages reads pages of one state, in the order asked for, up to the limits
// of MaxPages and MaxPagesBytes; a page that is not there is no error. Errors
// are those of Reader.Page.
func ReadPages(r Reader, pages []pinetree.PageNo, at pinetree.LSN) (PagesRead, error) {
	pages = pages[:min(len(pages), MaxPages)]
	if batched, ok := r.(PagesReader); ok {
		return batched.Pages(pages, at, MaxPagesBytes)
	}
	for tries := 1; ; tries++ {
		all, err := oneByOne(r, pages, at)
		// The newest state of a moment ago may be truncated by now. Twice in a row
		// says that something else is wrong.
		if err == nil || at != 0 || !errors.Is(err, pinetree.ErrTruncated) || tries == 2 {
			return all, err
		}
	}
}

// oneByOne reads each page as of the LSN that the first one was read at.
func oneByOne(r Reader, pages []pinetree.PageNo, at pinetree.LSN) (PagesRead, error) {
	all := PagesRead{Pages: make([]PageOf, 0, len(pages))}
	size := 0
	for i, page := range pages {
		if i > 0 && all.At == 0 { // an empty volume; zero would be the newest state by now
			all.Pages = append(all.Pages, PageOf{})
			continue
		}
		read, err := r.Page(page, at)
		all.At, at = read.At, read.At
		switch {
		case err == nil:
			all.Pages = append(all.Pages, PageOf{Found: true, Page: read.Page, PageLSN: read.PageLSN})
		case errors.Is(err, pinetree.ErrNotFound):
			all.Pages = append(all.Pages, PageOf{})
		default:
			return PagesRead{At: read.At}, err
		}
		if size += len(read.Page); size >= MaxPagesBytes {
			break
		}
	}
	return all, nil
}
