package logservice

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestAStreamAnswersOneQuestionAfterTheOther asks on one stream what goes well and
// what does not, of the leader and of another node.
func TestAStreamAnswersOneQuestionAfterTheOther(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatRedo)
	w := c.open(0, &wirepb.OpenRequest{})
	record := w.batch(1, put(t, "k", []byte("v")))
	w.send(record)
	w.await(record.LSN)
	asked := func(m *member) func(*wirepb.Question) *wirepb.Answer {
		stream, err := m.reads().Ask(c.ctx())
		if err != nil {
			t.Fatal(err)
		}
		return func(q *wirepb.Question) *wirepb.Answer {
			t.Helper()
			if err := stream.Send(q); err != nil {
				t.Fatal(err)
			}
			a, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
	}
	failed := func(a *wirepb.Answer) error {
		of, ok := a.Of.(*wirepb.Answer_Failed)
		if !ok {
			t.Fatalf("the answer is %v", a)
		}
		return wirepb.DecodeError(of.Failed)
	}
	key := func(name string, o *wirepb.ReadOptions) *wirepb.Question {
		return &wirepb.Question{Of: &wirepb.Question_Key{Key: &wirepb.KeyRequest{Volume: 7, Key: []byte(name), Options: o}}}
	}
	leader, follower := asked(c.members[0]), asked(c.members[1])
	for range 2 {
		if a := leader(key("k", nil)); string(a.GetKey().GetValue()) != "v" {
			t.Errorf("key: %v", a)
		}
		if err := failed(leader(key("none", nil))); !errors.Is(err, pinetree.ErrNotFound) {
			t.Errorf("a key that is not there: %v", err)
		}
		if err := failed(leader(&wirepb.Question{})); !errors.Is(err, pinetree.ErrBadBatch) {
			t.Errorf("a question for nothing: %v", err)
		}
		page := &wirepb.Question{Of: &wirepb.Question_Page{Page: &wirepb.PageRequest{Volume: 7, Page: 1}}}
		if err := failed(leader(page)); !errors.Is(err, pinetree.ErrNotFound) {
			t.Errorf("a page that is not there: %v", err)
		}
		pages := &wirepb.Question{Of: &wirepb.Question_Pages{Pages: &wirepb.PagesRequest{Volume: 7, Pages: []uint64{1, 2}}}}
		if a := leader(pages); len(a.GetPages().GetPages()) != 2 {
			t.Errorf("pages: %v", a)
		}
		late := key("k", &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE, MinLsn: 1 << 40})
		late.TimeoutUs = uint64((50 * time.Millisecond).Microseconds())
		began := time.Now()
		if err := failed(leader(late)); err == nil || time.Since(began) > 5*time.Second {
			t.Errorf("a question that takes too long, after %s: %v", time.Since(began), err)
		}
		elsewhere, ok := errors.AsType[*pinetree.NotLeaderError](failed(follower(key("k", nil))))
		if !ok || elsewhere.Leader != 1 {
			t.Errorf("a question for the leader: %v", elsewhere)
		}
		if a := follower(key("k", &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE, MinLsn: uint64(record.LSN)})); string(a.GetKey().GetValue()) != "v" {
			t.Errorf("a stale key: %v", a)
		}
	}
}

// TestANodeDoesNotWaitForThoseWhoAskNothing has a node stop under a stream on which
// nothing is asked.
func TestANodeDoesNotWaitForThoseWhoAskNothing(t *testing.T) {
	c := startCluster(t, 1)
	c.group(0, pinetree.FormatRedo)
	stream, err := c.members[0].reads().Ask(c.ctx())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := stream.Send(&wirepb.Question{}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := c.members[0].node.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took >= graceful {
		t.Errorf("the node took %s to stop", took)
	}
	if _, err := stream.Recv(); !errors.Is(wirepb.FromError(err), pinetree.ErrStopped) {
		t.Errorf("the stream ended with %v", err)
	}
}

// TestANodeKeepsOnlySoManyStreamsOfQuestions opens one more than there may be, and
// again after one of them has ended.
func TestANodeKeepsOnlySoManyStreamsOfQuestions(t *testing.T) {
	c := startCluster(t, 1)
	all := c.ctx()
	open := func() (cancel func(), err error) {
		ctx, cancel := context.WithCancel(all) // none ends before the others
		stream, err := c.members[0].reads().Ask(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&wirepb.Question{}); err != nil && err != io.EOF { // Recv tells why
			t.Fatal(err)
		}
		_, err = stream.Recv()
		return cancel, wirepb.FromError(err)
	}
	var last func()
	for range maxAsked {
		end, err := open()
		if err != nil {
			t.Fatal(err)
		}
		last = end
	}
	if _, err := open(); !errors.Is(err, pinetree.ErrQueueFull) {
		t.Fatalf("one stream more: %v, want ErrQueueFull", err)
	}
	last()
	for {
		_, err := open()
		if err == nil {
			return
		}
		if !errors.Is(err, pinetree.ErrQueueFull) {
			t.Fatalf("after one has ended: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}
