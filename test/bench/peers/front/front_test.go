package front

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

// frames makes records of random sizes, a few of them large.
func frames(r *rand.Rand, n int) []byte {
	var all []byte
	for range n {
		size := r.IntN(300)
		if r.IntN(40) == 0 {
			size = r.IntN(MaxRecord)
		}
		all = AppendFrame(all, bytes.Repeat([]byte{byte(size)}, size))
	}
	return all
}

func TestQueueGivesWhatItGotHoweverItIsCut(t *testing.T) {
	const records = 400
	r := rand.New(rand.NewPCG(3, 4))
	sent := frames(r, records)
	q := NewQueue()
	var filler sync.WaitGroup
	filler.Go(func() {
		r, left := rand.New(rand.NewPCG(5, 6)), sent
		for len(left) > 0 {
			n := min(len(left), 1+r.IntN(1<<r.IntN(20)))
			if _, err := q.Write(left[:n]); err != nil {
				t.Error(err)
				return
			}
			left = left[n:]
		}
	})
	var got []byte
	var counter Counter
	for taken := 0; taken < records; {
		limit := r.IntN(5)
		b, ok := q.Take(limit)
		if !ok {
			t.Fatal("the queue was closed")
		}
		if n, size := Span(b.Frames, 0); n != b.Records || size != len(b.Frames) || limit > 0 && n > limit {
			t.Fatalf("a batch of at most %d says %d records, and has %d in %d of %d bytes", limit, b.Records, n, size, len(b.Frames))
		}
		got, taken = append(got, b.Frames...), taken+b.Records
		counter.Add(b.Frames[:len(b.Frames)/3])
		counter.Add(b.Frames[len(b.Frames)/3:])
		b.Release()
	}
	filler.Wait()
	if !bytes.Equal(got, sent) {
		t.Error("the frames that came out are not those that went in")
	}
	if counter.Records != records {
		t.Errorf("%d records were counted, there were %d", counter.Records, records)
	}
}

func TestQueueIsBounded(t *testing.T) {
	q := NewQueue()
	record := AppendFrame(nil, make([]byte, MaxRecord))
	written := make(chan int)
	go func() {
		n := 0
		for {
			if _, err := q.Write(record); err != nil {
				written <- n
				return
			}
			n += len(record)
		}
	}()
	time.Sleep(50 * time.Millisecond)
	q.Close()
	if n := <-written; n < queueBytes-chunkBytes || n > queueBytes+2*chunkBytes {
		t.Errorf("%d bytes went into a queue of %d", n, queueBytes)
	}
}

func TestRecordThatIsTooLargeIsRefused(t *testing.T) {
	if _, err := NewQueue().Write([]byte{0xff, 0xff, 0xff, 0x7f}); err == nil {
		t.Error("a record of 2 GiB was announced and accepted")
	}
}

// sink collects what a client reports.
type sink struct {
	mu     sync.Mutex
	acked  int
	failed error
	change chan struct{}
}

func newSink() *sink { return &sink{change: make(chan struct{}, 1)} }

func (s *sink) Acked(records []*load.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked += len(records)
	s.signal()
}

func (s *sink) Failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	s.signal()
}

func (s *sink) signal() {
	select {
	case s.change <- struct{}{}:
	default:
	}
}

// await waits until done holds.
func (s *sink) await(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		ok := done()
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-s.change:
		case <-deadline:
			t.Fatalf("waited too long; %d acknowledged, failure %v", s.acked, s.failed)
		}
	}
}

// serve starts a front on a free port and a client of it.
func serve(t *testing.T, kind Kind, log Log, s *sink) load.Client {
	t.Helper()
	addr := freeAddress(t)
	server, err := Listen(kind, addr, log)
	if err != nil {
		t.Fatal(err)
	}
	client, err := Dial(kind, addr, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(client.Close(), server.Close()); err != nil {
			t.Error(err)
		}
	})
	return client
}

func TestRecordsComeThroughEachFrontInOrder(t *testing.T) {
	for _, kind := range []Kind{TCP, GRPC} {
		t.Run(string(kind), func(t *testing.T) {
			const records, size = 3000, 700
			var want, got bytes.Buffer
			s := newSink()
			client := serve(t, kind, Pipeline{Records: 16, Depth: 2, Most: 4, Start: func(b Batch) (func() error, error) {
				got.Write(b.Frames)
				b.Release()
				return func() error { return nil }, nil
			}}, s)
			for i := range records {
				r := &load.Record{Payload: bytes.Repeat([]byte{byte(i)}, size)}
				want.Write(AppendFrame(nil, r.Payload))
				client.Submit([]*load.Record{r})
			}
			s.await(t, func() bool { return s.acked == records })
			if !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Error("the log got other frames than were submitted")
			}
		})
	}
}

func TestNothingIsAcknowledgedThatFailed(t *testing.T) {
	for _, kind := range []Kind{TCP, GRPC} {
		t.Run(string(kind), func(t *testing.T) {
			s := newSink()
			started := 0
			client := serve(t, kind, Pipeline{Records: 1, Depth: 1, Most: 2, Start: func(Batch) (func() error, error) {
				started++
				if started == 3 {
					return func() error { return io.ErrShortWrite }, nil
				}
				return func() error { return nil }, nil
			}}, s)
			for range 5 {
				client.Submit([]*load.Record{{Payload: []byte("x")}})
			}
			s.await(t, func() bool { return s.failed != nil })
			if s.acked != 2 {
				t.Errorf("the third of five failed, and %d were acknowledged", s.acked)
			}
		})
	}
}

func TestPipelineGathersWhenItIsDeepEnough(t *testing.T) {
	const limit, depth, most = 4, 2, 3
	q := NewQueue()
	sizes := make(chan int, 100)
	release := make(chan struct{})
	p := Pipeline{Records: limit, Depth: depth, Most: most, Start: func(b Batch) (func() error, error) {
		sizes <- b.Records
		return func() error { <-release; return nil }, nil
	}}
	committed := make(chan uint64, 100)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := p.Serve(q, func(records uint64) error { committed <- records; return nil }); err != nil {
			t.Error(err)
		}
	})
	put := func(records int) {
		for range records {
			if _, err := q.Write(AppendFrame(nil, []byte("x"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	started := func(want ...int) {
		t.Helper()
		for _, size := range want {
			if got := <-sizes; got != size {
				t.Fatalf("a batch of %d records was started, want %v", got, want)
			}
		}
		time.Sleep(20 * time.Millisecond)
		if len(sizes) > 0 {
			t.Fatalf("a batch of %d records was started after %v", <-sizes, want)
		}
	}
	put(1)
	started(1)
	put(1)
	started(1) // as deep as it goes with what there is
	put(3)
	started() // gathers
	put(1)
	started(4) // is full
	put(9)
	started() // nothing beyond the most
	release <- struct{}{}
	started(4)
	close(release)
	started(4, 1)
	for _, want := range []uint64{1, 2, 6, 10, 14, 15} {
		if got := <-committed; got != want {
			t.Errorf("%d records are committed, want %d", got, want)
		}
	}
	q.Close()
	serving.Wait()
}
