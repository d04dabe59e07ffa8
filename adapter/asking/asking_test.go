package asking

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// node answers reads of pages and keys with their number or name. Page 404 is not
// there, and page 7 waits for wait.
type node struct {
	wirepb.UnimplementedReadsServer
	calls, questions, streams atomic.Int64
	wait                      chan struct{}
	server                    *grpc.Server
}

func (n *node) Page(ctx context.Context, q *wirepb.PageRequest) (*wirepb.PageResponse, error) {
	n.calls.Add(1)
	return n.page(ctx, q)
}

func (n *node) page(ctx context.Context, q *wirepb.PageRequest) (*wirepb.PageResponse, error) {
	switch q.Page {
	case 404:
		return nil, fmt.Errorf("page 404: %w", pinetree.ErrNotFound)
	case 405:
		return nil, &pinetree.NotLeaderError{Group: 1, Leader: 2, Addr: "there:1"}
	case 7:
		select {
		case <-n.wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return &wirepb.PageResponse{Served: &wirepb.Served{Lsn: q.Page}, Page: fmt.Append(nil, q.Page), PageLsn: q.Page + 1}, nil
}

func (n *node) Ask(stream wirepb.Reads_AskServer) error {
	n.streams.Add(1)
	for {
		q, err := stream.Recv()
		if err != nil {
			return nil
		}
		n.questions.Add(1)
		ctx, cancel := context.WithTimeout(stream.Context(), cmp.Or(time.Duration(q.TimeoutUs)*time.Microsecond, time.Minute))
		a := &wirepb.Answer{}
		switch of := q.Of.(type) {
		case *wirepb.Question_Page:
			page, err := n.page(ctx, of.Page)
			if a.Of = (&wirepb.Answer_Page{Page: page}); err != nil {
				a.Of = &wirepb.Answer_Failed{Failed: wirepb.EncodeError(err)}
			}
		case *wirepb.Question_Pages:
			r := &wirepb.PagesResponse{Served: &wirepb.Served{Lsn: 3}}
			for _, page := range of.Pages.Pages {
				r.Pages = append(r.Pages, &wirepb.PageOf{Found: true, Page: fmt.Append(nil, page)})
			}
			a.Of = &wirepb.Answer_Pages{Pages: r}
		case *wirepb.Question_Key:
			a.Of = &wirepb.Answer_Key{Key: &wirepb.KeyResponse{Value: of.Key.Key, KeyLsn: 9}}
		}
		cancel()
		if err := stream.Send(a); err != nil {
			return err
		}
	}
}

// old is a node that does not know Ask.
type old struct{ *node }

func (o old) Ask(stream wirepb.Reads_AskServer) error {
	o.streams.Add(1)
	return wirepb.UnimplementedReadsServer{}.Ask(stream)
}

// start serves reads at an address, and stops when the test ends.
func (n *node) start(t *testing.T, address string, reads wirepb.ReadsServer) string {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(wirepb.ServerOptions(), grpc.UnaryInterceptor(wirepb.UnaryServerErrors), grpc.StreamInterceptor(wirepb.StreamServerErrors))...)
	wirepb.RegisterReadsServer(server, reads)
	n.server = server
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func connect(t *testing.T, address string) *Conn {
	t.Helper()
	made, err := grpc.NewClient("passthrough:///"+address, append(wirepb.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(wirepb.UnaryClientErrors), grpc.WithStreamInterceptor(wirepb.StreamClientErrors))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Close() })
	return &Conn{ClientConn: made}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// page reads a page and checks that it is the one that was asked for.
func page(ctx context.Context, c *Conn, number uint64) error {
	r, err := wirepb.NewReadsClient(c).Page(ctx, &wirepb.PageRequest{Volume: 1, Page: number})
	if err == nil && (string(r.Page) != fmt.Sprint(number) || r.PageLsn != number+1 || r.Served.GetLsn() != number) {
		err = fmt.Errorf("page %d is answered with %v", number, r)
	}
	return err
}

func TestReadsShareOneStream(t *testing.T) {
	n := &node{}
	c := connect(t, n.start(t, "127.0.0.1:0", n))
	ctx := within(t, 10*time.Second)
	for i := range uint64(50) {
		if err := page(ctx, c, 1000+i); err != nil {
			t.Fatal(err)
		}
	}
	reads := wirepb.NewReadsClient(c)
	pages, err := reads.Pages(ctx, &wirepb.PagesRequest{Pages: []uint64{4, 5}})
	if err != nil || len(pages.Pages) != 2 || string(pages.Pages[1].Page) != "5" || pages.Served.Lsn != 3 {
		t.Errorf("pages: %v, %v", pages, err)
	}
	key, err := reads.Key(ctx, &wirepb.KeyRequest{Key: []byte("k")})
	if err != nil || string(key.Value) != "k" || key.KeyLsn != 9 {
		t.Errorf("key: %v, %v", key, err)
	}
	if err := page(ctx, c, 404); !errors.Is(err, pinetree.ErrNotFound) {
		t.Errorf("a page that is not there: %v", err)
	}
	var elsewhere *pinetree.NotLeaderError
	if err := page(ctx, c, 405); !errors.As(err, &elsewhere) || elsewhere.Addr != "there:1" {
		t.Errorf("a page of another leader: %v", err)
	}
	if streams, questions, calls := n.streams.Load(), n.questions.Load(), n.calls.Load(); streams != 1 || questions != 54 || calls != 0 {
		t.Errorf("%d streams, %d questions and %d calls; want 1, 54 and 0", streams, questions, calls)
	}
	if _, err := reads.State(ctx, &wirepb.StateRequest{}); err == nil { // not implemented, as a call
		t.Error("another call went nowhere")
	}
}

// TestManyReadsAtOnceEachGetTheirs has more readers than there are streams.
func TestManyReadsAtOnceEachGetTheirs(t *testing.T) {
	n := &node{}
	c := connect(t, n.start(t, "127.0.0.1:0", n))
	ctx := within(t, 20*time.Second)
	var reading sync.WaitGroup
	for i := range uint64(16) {
		reading.Go(func() {
			for j := range uint64(100) {
				if err := page(ctx, c, 1000*i+1000+j); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	reading.Wait()
	if streams, all := n.streams.Load(), n.questions.Load()+n.calls.Load(); streams > maxLines || all != 1600 {
		t.Errorf("%d streams for %d reads; want at most %d for 1600", streams, all, maxLines)
	}
}

// TestAReadThatIsGivenUpTakesNoOther has a read end with its context: its answer,
// which comes later, is nobody's.
func TestAReadThatIsGivenUpTakesNoOther(t *testing.T) {
	n := &node{wait: make(chan struct{})}
	c := connect(t, n.start(t, "127.0.0.1:0", n))
	for range 3 * maxLines {
		if err := page(within(t, 20*time.Millisecond), c, 7); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a read beyond its time: %v", err)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		if err := page(cancelled, c, 7); !errors.Is(err, context.Canceled) {
			t.Fatalf("a read that was given up: %v", err)
		}
		if err := page(within(t, 10*time.Second), c, 8); err != nil {
			t.Fatal(err)
		}
	}
	close(n.wait)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lines != len(c.idle) || c.lines != 1 {
		t.Errorf("%d streams, %d of them idle; want 1", c.lines, len(c.idle))
	}
	if calls := n.calls.Load(); calls != 0 {
		t.Errorf("%d reads were calls though streams were free", calls)
	}
}

// TestANodeThatComesBackIsAsked has the node stop under an idle stream: the next
// read does not fail for that.
func TestANodeThatComesBackIsAsked(t *testing.T) {
	n := &node{}
	address := n.start(t, "127.0.0.1:0", n)
	c := connect(t, address)
	if err := page(within(t, 10*time.Second), c, 1); err != nil {
		t.Fatal(err)
	}
	n.server.Stop()
	if err := page(within(t, 10*time.Second), c, 2); !wirepb.Unreachable(err) {
		t.Errorf("a node that has stopped: %v", err)
	}
	n.start(t, address, n)
	failed := error(nil)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if failed = page(within(t, 10*time.Second), c, 3); failed == nil {
			break
		}
	}
	n.server.Stop()
	n.start(t, address, n)
	if err := page(within(t, 10*time.Second), c, 5); err != nil {
		t.Errorf("a node that was started anew between two reads: %v", err)
	}
	before := n.questions.Load()
	if err := errors.Join(failed, page(within(t, 10*time.Second), c, 4)); err != nil || n.questions.Load() != before+1 {
		t.Errorf("after the node came back: %v, %d questions more", err, n.questions.Load()-before)
	}
}

// full is a node that has all the streams that it can have.
type full struct{ *node }

func (f full) Ask(wirepb.Reads_AskServer) error {
	f.streams.Add(1)
	return fmt.Errorf("%w: no stream to spare", pinetree.ErrQueueFull)
}

func TestANodeWithoutAStreamToGiveGetsCalls(t *testing.T) {
	for name, with := range map[string]func(*node) wirepb.ReadsServer{
		"it does not know Ask": func(n *node) wirepb.ReadsServer { return old{n} },
		"it is full":           func(n *node) wirepb.ReadsServer { return full{n} },
	} {
		t.Run(name, func(t *testing.T) {
			n := &node{}
			c := connect(t, n.start(t, "127.0.0.1:0", with(n)))
			for i := range uint64(5) {
				if err := page(within(t, 10*time.Second), c, i+1); err != nil {
					t.Fatal(err)
				}
			}
			if calls, streams := n.calls.Load(), n.streams.Load(); calls != 5 || streams != 1 {
				t.Errorf("%d calls and %d streams, want 5 and 1", calls, streams)
			}
			c.unable = time.Now() // a minute later
			if err := page(within(t, 10*time.Second), c, 9); err != nil || n.streams.Load() != 2 {
				t.Errorf("after a minute: %v, %d streams, want 2", err, n.streams.Load())
			}
		})
	}
}

// TestManyPagesAreACall leaves the streams to small reads.
func TestManyPagesAreACall(t *testing.T) {
	for _, n := range []int{1, maxPages} {
		if questionOf(&wirepb.PagesRequest{Pages: make([]uint64, n)}) == nil {
			t.Errorf("%d pages are no question", n)
		}
	}
	if q := questionOf(&wirepb.PagesRequest{Pages: make([]uint64, maxPages+1)}); q != nil {
		t.Errorf("many pages are a question: %v", q)
	}
}

// TestAnAnswerToAnotherQuestionIsAnError is for a node that breaks the protocol.
func TestAnAnswerToAnotherQuestionIsAnError(t *testing.T) {
	err := fill(&wirepb.PageResponse{}, &wirepb.Answer{Of: &wirepb.Answer_Key{Key: &wirepb.KeyResponse{}}})
	if err == nil {
		t.Error("a key was taken for a page")
	}
	for _, failed := range [][]byte{nil, {0xff}} {
		if err := fill(&wirepb.PageResponse{}, &wirepb.Answer{Of: &wirepb.Answer_Failed{Failed: failed}}); err == nil {
			t.Errorf("an answer that failed with %x is none", failed)
		}
	}
}
