package bench

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

// manners are how a fakeWriter behaves.
type manners struct {
	delay time.Duration // from append to acknowledgement
	after int           // fails from this record on, if not zero
}

// fakeWriter acknowledges each record after a delay, in order, and takes none
// while it is held up.
type fakeWriter struct {
	manners
	lane *lane

	mu          sync.Mutex
	busy        sync.Mutex // held while nothing is taken
	taken       []pinetree.Record
	outstanding int
	most        int // ever outstanding
	acks        chan ack
	ended       chan struct{}
}

type ack struct {
	lsn pinetree.LSN
	at  time.Time
}

var errFull = errors.New("the fake is full")

func newFake(l *lane, m manners) *fakeWriter {
	f := &fakeWriter{lane: l, manners: m, acks: make(chan ack, 1<<16), ended: make(chan struct{})}
	l.writer = f
	go func() {
		defer close(f.ended)
		for a := range f.acks {
			time.Sleep(time.Until(a.at))
			f.mu.Lock()
			f.outstanding--
			f.mu.Unlock()
			l.hear(ship.Acked{LSN: a.lsn, Records: 1})
		}
	}()
	return f
}

func (f *fakeWriter) Append(_ context.Context, records ...pinetree.Record) error {
	f.busy.Lock()
	defer f.busy.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range records {
		if f.after > 0 && len(f.taken) >= f.after {
			return errFull
		}
		f.taken = append(f.taken, r)
		f.outstanding++
		f.most = max(f.most, f.outstanding)
		f.acks <- ack{r.LSN, time.Now().Add(f.delay)}
	}
	return nil
}

func (f *fakeWriter) Flush(context.Context) error { return nil }
func (f *fakeWriter) Err() error                  { return nil }
func (f *fakeWriter) Progress() ship.Progress     { return ship.Progress{Resumes: 1} }
func (f *fakeWriter) Close() error {
	close(f.acks)
	<-f.ended
	return nil
}

// loaded runs a load on fakes for a time and returns it with the first error.
func loaded(t *testing.T, cfg Config, m manners, during func([]*fakeWriter)) (*load, []*fakeWriter, error) {
	t.Helper()
	l := &load{cfg: cfg, ring: [][]byte{make([]byte, cfg.RecordBytes), make([]byte, cfg.RecordBytes)}}
	l.cfg.Together = max(cfg.Together, 1)
	var fakes []*fakeWriter
	for range cfg.Volumes {
		at := l.newLane()
		l.lanes = append(l.lanes, at)
		fakes = append(fakes, newFake(at, m))
	}
	ctx, fail := context.WithCancelCause(context.Background())
	defer fail(nil)
	l.phase.measured.Store(true)
	stop := make(chan struct{})
	loading := l.start(ctx, stop, fail)
	during(fakes)
	close(stop)
	loading.Wait()
	err := context.Cause(ctx)
	for _, f := range fakes {
		f.Close()
	}
	return l, fakes, err
}

// chained tells whether what a fake took is a log without a hole.
func chained(t *testing.T, f *fakeWriter) {
	t.Helper()
	at := pinetree.LSN(0)
	for i, r := range f.taken {
		if r.Prev != at || r.LSN <= at {
			t.Fatalf("record %d is (%s, %s] and the log ends at %s", i, r.Prev, r.LSN, at)
		}
		at = r.LSN
	}
}

func TestClosedLoopHasOneRecordOutstandingForEachWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{RecordBytes: 10, Workers: 6, Volumes: 2, Groups: 1}
		l, fakes, err := loaded(t, cfg, manners{delay: time.Millisecond}, func([]*fakeWriter) { time.Sleep(999500 * time.Microsecond) })
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fakes {
			chained(t, f)
			if f.most != 3 {
				t.Errorf("%d records were outstanding at once, want 3", f.most)
			}
			if n := len(f.taken); n != 3000 {
				t.Errorf("%d records in a second of 1 ms each, want 3,000", n)
			}
			if p50 := f.lane.took.Quantile(50); p50 < 999 || p50 > 1002 || f.lane.took.Count() != 3000 {
				t.Errorf("%d latencies of %g µs, want 3,000 of 1,000", f.lane.took.Count(), p50)
			}
		}
		if l.records() != 6000 {
			t.Errorf("%d records acknowledged, want 6,000", l.records())
		}
	})
}

func TestStreamTimesOneRecordInSome(t *testing.T) {
	for together, timed := range map[int]int{1: 3200 / sampleEvery, 8: 3200 / sampleEvery, 64: 3200 / 64} {
		synctest.Test(t, func(t *testing.T) {
			cfg := Config{RecordBytes: 10, WindowBytes: 1000, Together: together, Volumes: 1, Groups: 1}
			_, fakes, err := loaded(t, cfg, manners{5 * time.Millisecond, 3200}, func([]*fakeWriter) { time.Sleep(time.Second) })
			if !errors.Is(err, errFull) {
				t.Errorf("the load ended with %v, want the writer's error", err)
			}
			chained(t, fakes[0])
			took := fakes[0].lane.took
			if n := took.Count(); n != int64(timed) || len(fakes[0].taken) != 3200 {
				t.Errorf("%d together: %d records of %d were timed, want %d of 3,200", together, n, len(fakes[0].taken), timed)
			}
			if p50 := took.Quantile(50); p50 < 4995 || p50 > 5010 {
				t.Errorf("%d together: p50 is %g µs, want 5,000", together, p50)
			}
		})
	}
}

// TestPacedLoadCountsWhatAStallDelays guards against coordinated omission: all
// records that were due during a stall have waited for its end.
func TestPacedLoadCountsWhatAStallDelays(t *testing.T) {
	const rate, stall = 1000, 200 * time.Millisecond
	cfg := Config{RecordBytes: 10, Rate: rate, Volumes: 2, Groups: 1}
	l, fakes, err := loaded(t, cfg, manners{delay: time.Millisecond}, func(f []*fakeWriter) {
		time.Sleep(300 * time.Millisecond)
		f[0].busy.Lock()
		time.Sleep(stall)
		f[0].busy.Unlock()
		time.Sleep(300 * time.Millisecond)
	})
	if err != nil {
		t.Fatal(err)
	}
	took := testbed.NewLatencies()
	for _, f := range fakes {
		chained(t, f)
		took.Merge(f.lane.took)
	}
	if n := l.records(); n < 600 || n > 1000 {
		t.Errorf("%d records in 0.8 s at %d a second", n, rate)
	}
	// A quarter of the records were due during the stall; their waits are
	// spread evenly from nothing to all of it.
	if p50, p90 := took.Quantile(50), took.Quantile(90); p50 > 50_000 || p90 < 50_000 || p90 > 200_000 {
		t.Errorf("p50 %g µs, p90 %g µs; a stall of %v must show in the second and not in the first", p50, p90, stall)
	}
}

// TestBytesAreThoseOfTheRecords: records of a log have many sizes.
func TestBytesAreThoseOfTheRecords(t *testing.T) {
	l := &load{cfg: Config{Together: 1}, ring: [][]byte{make([]byte, 10), make([]byte, 3000)}}
	at := l.newLane()
	l.lanes = []*lane{at, {}}
	at.base, at.tail = 500, 500
	f := newFake(at, manners{})
	for range 3 {
		if err := at.append(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if l.bytes() != 3020 || l.records() != 3 {
		t.Errorf("%d records of %d bytes, want 3 of 10, 3,000 and 10", l.records(), l.bytes())
	}
}

func TestQueueKeepsItsOrderWhileItGrows(t *testing.T) {
	var q queue
	next, want := pinetree.LSN(1), pinetree.LSN(1)
	for round := range 200 {
		for range round % 13 {
			q.push(waiting{lsn: next})
			next++
		}
		for range min(q.count, round%11) {
			if got := q.pop().lsn; got != want {
				t.Fatalf("round %d: %d, want %d", round, got, want)
			}
			want++
		}
	}
	if q.count != int(next-want) || q.count < 64 {
		t.Errorf("%d wait, want %d, and more than the first ring holds", q.count, next-want)
	}
}
