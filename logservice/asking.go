package logservice

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// maxQuestionTimeout bounds how long a question takes, whatever it asks for.
const maxQuestionTimeout = time.Hour

// maxAsked bounds the streams of questions of a node. One that is open takes about
// 10 KiB, asked on or not; whoever gets none makes calls.
const maxAsked = 4096

// Ask implements wirepb.ReadsServer.
func (s *readService) Ask(stream wirepb.Reads_AskServer) error {
	defer s.node.asked.Add(-1)
	if s.node.asked.Add(1) > maxAsked {
		return fmt.Errorf("%w: node %d has %d streams of questions open; make calls instead", pinetree.ErrQueueFull, s.node.identity.Node, maxAsked)
	}
	if !s.node.begin() {
		return errStopping(s.node.identity.Node)
	}
	ended := make(chan error, 1)
	// As in Ship, only the return of this method interrupts a Recv.
	go func() {
		defer s.node.running.Done()
		ended <- s.answerAll(stream)
	}()
	select {
	case err := <-ended:
		return goodbye(err)
	case <-s.node.closing:
		return errStopping(s.node.identity.Node)
	}
}

// answerAll answers one question after the other, until an error ends the stream.
func (s *readService) answerAll(stream wirepb.Reads_AskServer) error {
	for {
		question, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := stream.Send(s.answer(stream.Context(), question)); err != nil {
			return err
		}
	}
}

// answer does what the call does that the question stands for.
func (s *readService) answer(ctx context.Context, q *wirepb.Question) *wirepb.Answer {
	limit := time.Duration(min(q.TimeoutUs, uint64(maxQuestionTimeout/time.Microsecond))) * time.Microsecond
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(limit, callTimeout))
	defer cancel()
	a := &wirepb.Answer{}
	var err error
	switch of := q.Of.(type) {
	case *wirepb.Question_Page:
		var page *wirepb.PageResponse
		page, err = s.Page(ctx, of.Page)
		a.Of = &wirepb.Answer_Page{Page: page}
	case *wirepb.Question_Pages:
		var pages *wirepb.PagesResponse
		pages, err = s.Pages(ctx, of.Pages)
		a.Of = &wirepb.Answer_Pages{Pages: pages}
	case *wirepb.Question_Key:
		var key *wirepb.KeyResponse
		key, err = s.Key(ctx, of.Key)
		a.Of = &wirepb.Answer_Key{Key: key}
	default:
		err = badRequest("a question that asks for nothing that this node knows; it answers those for page, pages and key")
	}
	if err != nil {
		a.Of = &wirepb.Answer_Failed{Failed: wirepb.EncodeError(s.node.peers.hint(err))}
	}
	return a
}
