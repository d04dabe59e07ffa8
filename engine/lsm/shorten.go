package lsm

import (
	"bytes"
	"errors"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
)

// A read that has replayed more than one of these has met a chain that is too
// long, and asks for it to be shortened.
const (
	longChain      = 4 * layout.ConsolidateEvery // changes
	longChainBytes = 64 << 10
	// maxShortenings bounds the wishes that wait. Those above it are forgotten:
	// whoever reads the page again has the wish again.
	maxShortenings = 64
)

// shortening is the wish that the value of a page that begins at an LSN begins
// with an image, and with it every chain that goes through it.
type shortening struct {
	reader *reader
	page   pinetree.PageNo
	first  pinetree.LSN
}

// tooLong is called by reads.
func (r *reader) tooLong(page pinetree.PageNo, first pinetree.LSN) {
	select {
	case r.group.store.dropper.long <- shortening{r, page, first}:
	default:
	}
}

// shorten replaces the value that a wish is about by one that says the same and
// begins with an image. It is the dropper's, so nothing is trimmed meanwhile. It
// needs no sync: each of the two values will do.
func (s *Store) shorten(w shortening) error {
	v, err := w.reader.enter(w.first)
	if errors.Is(err, pinetree.ErrTruncated) || errors.Is(err, pinetree.ErrStopped) || errors.Is(err, pinetree.ErrUnknownVolume) {
		return nil // it was removed meanwhile
	}
	if err != nil {
		return err
	}
	defer w.reader.leave()
	name := v.keys.Page(w.page)
	stem := layout.Version(bytes.Clone(name), w.first)
	old, err := s.get(stem)
	if err == errNoValue {
		return nil // the state was replaced
	}
	if err != nil {
		return err
	}
	changes, hasImage, err := layout.DecodePage(old, w.first, v.position.LSN)
	if err != nil || hasImage {
		return err
	}
	read, err := v.page(w.page)
	if err != nil {
		return err
	}
	next := []layout.Change{{LSN: w.first, Op: engine.Op{Kind: engine.PageImage, Page: w.page, Data: read.Page}}}
	for _, c := range changes {
		if c.LSN > w.first {
			next = append(next, c)
		}
	}
	entries, err := layout.AppendValue(nil, stem, layout.EncodePage(next)...)
	if err != nil {
		return err
	}
	for used := (len(old) + layout.MaxChunkBytes - 1) / layout.MaxChunkBytes; used > len(entries); used-- {
		entries = append(entries, entry{Key: append(bytes.Clone(stem), byte(used-1)), Remove: true})
	}
	return s.commit(entries)
}
