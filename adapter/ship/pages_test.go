package ship

import (
	"context"
	"slices"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestPagesOfSeveralAnswersAreOfOneState has a writer go on after each answer.
func TestPagesOfSeveralAnswersAreOfOneState(t *testing.T) {
	w := newWorld(t)
	made := fill(w, 6)
	end := made[5].LSN
	c := w.dial(nil)
	var asked []int
	w.nodes[0].pagesAsked = func(q *wirepb.PagesRequest) {
		asked = append(asked, len(q.Pages))
		writer := w.open(WriterConfig{})
		at := writer.Durable()
		must(t, writer.Append(within(t), pinetree.Record{Prev: at, LSN: at + 10, Payload: []byte("later")}))
		must(t, writer.Flush(within(t)))
		must(t, writer.Close())
	}
	read, err := c.Reader(ReadConfig{}).Pages(within(t), []pinetree.PageNo{5, 0, 6, 7, 3})
	must(t, err)
	if read.LSN != end || read.Node != 1 || len(read.Pages) != 5 || !slices.Equal(asked, []int{5, 3, 1}) {
		t.Fatalf("asked for %d, read %+v, want the state at %s", asked, read, end)
	}
	for i, want := range map[int]int{0: 5, 1: 0, 4: 3} {
		if got := read.Pages[i]; !got.Found || string(got.Page) != string(made[want].Payload) || got.PageLSN != made[want].LSN {
			t.Errorf("page %d: %+v", want, got)
		}
	}
	if read.Pages[2].Found || read.Pages[3].Found {
		t.Errorf("pages that were written after the state at %s: %+v", end, read.Pages)
	}
}

func TestPagesOfAnEmptyVolumeAreNotThere(t *testing.T) {
	w := newWorld(t)
	c := w.dial(nil)
	read, err := c.Reader(ReadConfig{}).Pages(within(t), []pinetree.PageNo{1, 2, 3})
	must(t, err)
	if len(read.Pages) != 3 || slices.ContainsFunc(read.Pages, func(p PageOf) bool { return p.Found }) {
		t.Errorf("read %+v", read)
	}
}

// Pages gives at most two pages as Page does, as of the LSN that is asked for.
func (s fakeReads) Pages(ctx context.Context, q *wirepb.PagesRequest) (*wirepb.PagesResponse, error) {
	answer := &wirepb.PagesResponse{}
	served, err := s.serve(ctx, q.Options, func() error {
		records := recordsOf(s.node.world.t, s.node.world.at.Base, s.node.world.log)
		for _, page := range q.Pages[:min(2, len(q.Pages))] {
			one := &wirepb.PageOf{}
			if page < uint64(len(records)) && (q.Options.GetAt() == 0 || uint64(records[page].LSN) <= q.Options.GetAt()) {
				one.Found, one.Page, one.PageLsn = true, records[page].Payload, uint64(records[page].LSN)
			}
			answer.Pages = append(answer.Pages, one)
		}
		return nil
	})
	if err == nil && q.Options.GetAt() != 0 {
		served.Lsn = min(served.Lsn, q.Options.GetAt())
	}
	answer.Served = served
	if s.node.pagesAsked != nil {
		s.node.pagesAsked(q)
	}
	return answer, err
}
