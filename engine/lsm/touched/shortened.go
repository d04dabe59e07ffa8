package touched

import "github.com/pinetree-db/pinetree"

// maxShortened bounds the pages that are remembered as shortened.
const maxShortened = 1 << 16

// shortened are pages of which a version was made an image, which the log does not
// tell. They are forgotten with the process, or when there are too many: what is older
// than the image goes with the next one then. The zero one is ready.
type shortened struct {
	at map[shortenedPage]pinetree.LSN
}

type shortenedPage struct {
	of   Truncation // without its LSN
	page pinetree.PageNo
}

func (s *shortened) note(t Truncation, page pinetree.PageNo) {
	if s.at == nil {
		s.at = map[shortenedPage]pinetree.LSN{}
	}
	at := t.At
	t.At = 0
	if _, known := s.at[shortenedPage{t, page}]; known || len(s.at) < maxShortened {
		s.at[shortenedPage{t, page}] = at
	}
}

// take moves the pages whose image a truncation has reached into a step.
func (s *shortened) take(t Truncation, step *Set) {
	for p, at := range s.at {
		if p.of.Volume == t.Volume && p.of.Generation == t.Generation && at <= t.At {
			step.make()
			step.Pages[p.page] = true
			delete(s.at, p)
		}
	}
}
