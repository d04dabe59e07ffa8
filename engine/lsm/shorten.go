package lsm

import (
	"bytes"
	"errors"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// A read that has replayed more than one of these has met a chain that is too
// long, and asks for it to be shortened.
const (
	longChain      = 4 * consolidateEvery // changes
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
	name := v.keys.page(w.page)
	stem := version(bytes.Clone(name), w.first)
	old, err := s.get(stem)
	if err == errNoValue {
		return nil // the state was replaced
	}
	if err != nil {
		return err
	}
	changes, hasImage, err := decodePage(old, w.first, v.position.LSN)
	if err != nil || hasImage {
		return err
	}
	read, err := v.page(w.page)
	if err != nil {
		return err
	}
	next := []change{{lsn: w.first, op: engine.Op{Kind: engine.PageImage, Page: w.page, Data: read.Page}}}
	for _, c := range changes {
		if c.lsn > w.first {
			next = append(next, c)
		}
	}
	entries, err := appendValue(nil, stem, encodePage(next)...)
	if err != nil {
		return err
	}
	for used := (len(old) + maxChunkBytes - 1) / maxChunkBytes; used > len(entries); used-- {
		entries = append(entries, entry{Key: append(bytes.Clone(stem), byte(used-1)), Remove: true})
	}
	return s.commit(entries)
}
