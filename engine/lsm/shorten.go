package lsm

import (
	"bytes"
	"errors"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	"github.com/pinetree-db/pinetree/engine/lsm/touched"
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

// shortenWaiting carries a wish out and those that wait behind it. What it has
// written is durable, or will be before what is committed next, when it returns:
// trimming takes away what an image makes useless, and must not survive it.
func (s *Store) shortenWaiting(wish shortening) {
	written := false
	for range maxShortenings {
		done, err := s.shorten(wish)
		if err != nil {
			s.traits.Log.Debug("cannot shorten the changes of a page", "page", wish.page, "lsn", wish.first, "error", err)
		}
		written = written || done
		select {
		case wish = <-s.dropper.long:
			continue
		default:
		}
		break
	}
	if !written || s.enter() != nil {
		return
	}
	defer s.leave()
	if err := s.syncBefore(); err != nil {
		s.traits.Log.Debug("cannot sync the shortened changes of pages", "error", err) // the store takes no more writes
	}
}

// shorten replaces the value that a wish is about by one that says the same and
// begins with an image, and tells whether it did. It is the dropper's, so nothing
// is trimmed meanwhile. Values of several chunks are left alone, for a snapshot
// may stand between two of them.
func (s *Store) shorten(w shortening) (done bool, err error) {
	v, err := w.reader.enter(w.first)
	if errors.Is(err, pinetree.ErrTruncated) || errors.Is(err, pinetree.ErrStopped) || errors.Is(err, pinetree.ErrUnknownVolume) {
		return false, nil // it was removed meanwhile
	}
	if err != nil {
		return false, err
	}
	defer w.reader.leave()
	name := v.keys.Page(w.page)
	stem := layout.Version(bytes.Clone(name), w.first)
	old, err := s.get(stem)
	if err == errNoValue {
		return false, nil // the state was replaced
	}
	if err != nil {
		return false, err
	}
	changes, hasImage, err := layout.DecodePage(old, w.first, v.position.LSN)
	if err != nil || hasImage {
		return false, err
	}
	read, err := v.page(w.page)
	if err != nil {
		return false, err
	}
	next := []layout.Change{{LSN: w.first, Op: engine.Op{Kind: engine.PageImage, Page: w.page, Data: read.Page}}}
	for _, c := range changes {
		if c.LSN > w.first {
			next = append(next, c)
		}
	}
	entries, err := layout.AppendValue(nil, stem, layout.EncodePage(next))
	if err != nil {
		return false, err
	}
	if len(old) > layout.MaxChunkBytes || len(entries) > 1 {
		return false, nil
	}
	if err := s.db.Commit(sorted.Change{Entries: entries, Rewrite: true}); err != nil {
		return false, err
	}
	w.noteImage()
	return true, nil
}

// noteImage has trimming look at the page once the volume is truncated there.
func (w shortening) noteImage() {
	g := w.reader.group
	g.trimming.mu.Lock()
	defer g.trimming.mu.Unlock()
	g.trimming.cleaned.Shortened(touched.Truncation{Generation: g.state.Load().generation, Volume: w.reader.id, At: w.first}, w.page)
}
