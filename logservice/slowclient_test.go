package logservice

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// deafStream is the server's end of a stream whose client takes no answer: Send
// waits until the stream ends.
type deafStream[Answer any] struct {
	grpc.ServerStream
	ctx      context.Context
	requests chan *wirepb.ShipRequest
	waits    chan struct{} // closed when an answer waits for the client
	once     sync.Once
}

func deaf[Answer any](t *testing.T) (s *deafStream[Answer], leave func()) {
	ctx, cancel := context.WithCancel(t.Context())
	return &deafStream[Answer]{ctx: ctx, requests: make(chan *wirepb.ShipRequest, 1), waits: make(chan struct{})}, cancel
}

func (s *deafStream[Answer]) Context() context.Context { return s.ctx }

func (s *deafStream[Answer]) Send(*Answer) error { return s.SendMsg(nil) }

func (s *deafStream[Answer]) SendMsg(any) error {
	s.once.Do(func() { close(s.waits) })
	<-s.ctx.Done()
	return s.ctx.Err()
}

func (s *deafStream[Answer]) Recv() (*wirepb.ShipRequest, error) {
	select {
	case q := <-s.requests:
		return q, nil
	case <-s.ctx.Done():
		return nil, io.EOF
	}
}

// p99 appends records one after the other and reads with each what was
// acknowledged.
func (s *shipper) p99(at *member, records int) time.Duration {
	s.c.t.Helper()
	var took []time.Duration
	for range records {
		began := time.Now()
		b := s.batch(1, []byte("record"))
		s.send(b)
		s.await(b.LSN)
		r, err := at.reads().State(s.c.ctx(), &wirepb.StateRequest{Volume: 7, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_CONSISTENT}})
		if err != nil || pinetree.LSN(r.GetWatermarks().GetApplied()) < b.LSN {
			s.c.t.Fatalf("read at %v, %v after %s was acknowledged", r, err, b.LSN)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// unharmed compares writes and reads before a client stops to read with those
// while it does not: their p99 stays within five times, and 50 ms.
func (s *shipper) unharmed(at *member, serve func() error, waits chan struct{}, leave func()) {
	s.c.t.Helper()
	const records = 200
	before := s.p99(at, records)
	served := make(chan error, 1)
	go func() { served <- serve() }()
	s.p99(at, 1) // something to answer
	select {
	case <-waits:
	case <-time.After(8 * time.Second):
		s.c.t.Fatal("no answer waits for the client")
	}
	limit := 5*before + 50*time.Millisecond
	during := s.p99(at, records)
	for round := 1; during > limit && round < 3; round++ { // a busy machine spoils a round
		during = s.p99(at, records)
	}
	leave()
	if err := <-served; err == nil {
		s.c.t.Error("the stream of the client that left ended without an error")
	}
	s.c.t.Logf("p99 %v before, %v during", before, during)
	if during > limit {
		s.c.t.Errorf("writes and reads take %v while a client reads nothing, and %v before", during, before)
	}
}

func TestAWriterThatReadsNoAcknowledgementsDelaysNobody(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	w, m := c.open(0, &wirepb.OpenRequest{}), c.members[0]
	stream, leave := deaf[wirepb.ShipResponse](t)
	defer leave()
	stream.requests <- &wirepb.ShipRequest{Volume: 7, ComputeTerm: uint64(w.term)}
	w.unharmed(m, func() error { return (&computeService{node: m.node}).Ship(stream) }, stream.waits, leave)
}

func TestATailThatReadsNothingDelaysNobody(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	w, m := c.open(0, &wirepb.OpenRequest{}), c.members[0]
	b := w.batch(40, bytes.Repeat([]byte("x"), 100_000))
	w.send(b)
	w.await(b.LSN)
	stream, leave := deaf[wirepb.TailResponse](t)
	defer leave()
	w.unharmed(m, func() error {
		return (&readService{node: m.node}).Tail(&wirepb.TailRequest{Volume: 7, Follow: true}, stream)
	}, stream.waits, leave)
}
