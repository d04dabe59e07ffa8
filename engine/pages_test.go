package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// sheets is a Reader of pages that all have the same bytes, at an LSN that rises
// by ten with each call that reads the newest state.
type sheets struct {
	engine.Reader
	bytes     []byte
	now       pinetree.LSN
	truncated pinetree.LSN // rises to now after the first page of each of so many states
	cuts      int
}

func (s *sheets) Page(page pinetree.PageNo, at pinetree.LSN) (engine.PageRead, error) {
	if at == 0 {
		s.now += 10
		at = s.now
		if s.cuts > 0 {
			s.cuts--
			s.truncated = at + 1
		}
	} else if at < s.truncated {
		return engine.PageRead{At: at}, &pinetree.TruncatedError{Volume: 1, Asked: at, First: s.truncated}
	}
	if page > 1000 {
		return engine.PageRead{At: at}, fmt.Errorf("%w: page %d", pinetree.ErrNotFound, page)
	}
	return engine.PageRead{At: at, Page: s.bytes, PageLSN: pinetree.LSN(page)}, nil
}

func upTo(n int) []pinetree.PageNo {
	pages := make([]pinetree.PageNo, n)
	for i := range pages {
		pages[i] = pinetree.PageNo(i)
	}
	return pages
}

func TestReadPagesStopsAtItsLimits(t *testing.T) {
	mib := bytes.Repeat([]byte("x"), 1<<20)
	for name, c := range map[string]struct {
		page []byte
		ask  int
		want int
	}{
		"few":             {page: []byte("x"), ask: 3, want: 3},
		"too many":        {page: []byte("x"), ask: 300, want: engine.MaxPages},
		"too large":       {page: mib, ask: 9, want: 4},
		"one huge":        {page: bytes.Repeat(mib, 8), ask: 2, want: 1},
		"a bit too large": {page: mib[:1<<20-1], ask: 9, want: 5},
	} {
		got, err := engine.ReadPages(&sheets{bytes: c.page}, upTo(c.ask), 0)
		if err != nil || len(got.Pages) != c.want || got.At != 10 {
			t.Errorf("%s: %d pages of the state at %s, want %d at 0/A: %v", name, len(got.Pages), got.At, c.want, err)
		}
	}
}

func TestReadPagesIsOneStateAndGoesOnWhenItIsTruncated(t *testing.T) {
	pages := []pinetree.PageNo{5, 1001, 7}
	got, err := engine.ReadPages(&sheets{bytes: []byte("x"), cuts: 1}, pages, 0)
	if err != nil || got.At != 20 || len(got.Pages) != 3 || !got.Pages[0].Found || got.Pages[1].Found || got.Pages[2].PageLSN != 7 {
		t.Errorf("read %+v, %v; want the pages of the second state", got, err)
	}
	if _, err := engine.ReadPages(&sheets{bytes: []byte("x"), cuts: 9}, pages, 0); !errors.Is(err, pinetree.ErrTruncated) {
		t.Errorf("truncated again and again: %v", err)
	}
	if _, err := engine.ReadPages(&sheets{truncated: 50}, pages, 40); !errors.Is(err, pinetree.ErrTruncated) {
		t.Errorf("an LSN that is truncated: %v", err)
	}
}
