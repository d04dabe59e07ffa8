package asking

import (
	"fmt"

	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// maxPages is how many pages are worth a question. To more the cost of a call is
// little, and small reads would wait behind them.
const maxPages = 32

// questionOf is the question that stands for a call; nil when none does.
func questionOf(request any) *wirepb.Question {
	switch r := request.(type) {
	case *wirepb.PageRequest:
		return &wirepb.Question{Of: &wirepb.Question_Page{Page: r}}
	case *wirepb.PagesRequest:
		if len(r.Pages) > maxPages {
			return nil
		}
		return &wirepb.Question{Of: &wirepb.Question_Pages{Pages: r}}
	case *wirepb.KeyRequest:
		return &wirepb.Question{Of: &wirepb.Question_Key{Key: r}}
	}
	return nil
}

// fill puts an answer into the response of the call that it stands for, which goes on
// to share its memory, or returns the error that it carries.
func fill(response any, a *wirepb.Answer) error {
	switch of := a.Of.(type) {
	case *wirepb.Answer_Failed:
		return wirepb.DecodeError(of.Failed)
	case *wirepb.Answer_Page:
		if r, ok := response.(*wirepb.PageResponse); ok {
			r.Served, r.Page, r.PageLsn = of.Page.GetServed(), of.Page.GetPage(), of.Page.GetPageLsn()
			return nil
		}
	case *wirepb.Answer_Pages:
		if r, ok := response.(*wirepb.PagesResponse); ok {
			r.Served, r.Pages = of.Pages.GetServed(), of.Pages.GetPages()
			return nil
		}
	case *wirepb.Answer_Key:
		if r, ok := response.(*wirepb.KeyResponse); ok {
			r.Served, r.Value, r.KeyLsn = of.Key.GetServed(), of.Key.GetValue(), of.Key.GetKeyLsn()
			return nil
		}
	}
	return fmt.Errorf("a question for %T was answered with %T; is the node of another build?", response, a.Of)
}
