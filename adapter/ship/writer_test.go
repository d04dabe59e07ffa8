package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// source makes a chain of records.
type source struct {
	at   pinetree.LSN
	made []pinetree.Record
}

// next makes a record with a payload of a size.
func (s *source) next(size int) pinetree.Record {
	r := pinetree.Record{Prev: s.at, LSN: s.at + pinetree.LSN(8+size), Payload: bytes.Repeat([]byte{byte(len(s.made))}, size)}
	s.at = r.LSN
	s.made = append(s.made, r)
	return r
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// same fails the test unless the log holds these records, each once.
func same(t testing.TB, log, want []pinetree.Record) {
	t.Helper()
	if len(log) != len(want) {
		t.Fatalf("the log has %d records, appended were %d", len(log), len(want))
	}
	for i := range log {
		if log[i].Prev != want[i].Prev || log[i].LSN != want[i].LSN || !bytes.Equal(log[i].Payload, want[i].Payload) {
			t.Fatalf("record %d is (%s, %s], appended was (%s, %s]", i, log[i].Prev, log[i].LSN, want[i].Prev, want[i].LSN)
		}
	}
}

// eventually waits for what the world does not tell.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsAppendedIsInTheLogOnceAndInOrder(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var acked []Acked
	writer := w.open(WriterConfig{Base: 4096, Acked: func(a Acked) { mu.Lock(); defer mu.Unlock(); acked = append(acked, a) }})
	if writer.Term() != 1 || writer.Base() != 4096 || writer.Durable() != 4096 || writer.Format() != pinetree.FormatOpaque {
		t.Fatalf("opened term %d, base %s, durable %s, format %s", writer.Term(), writer.Base(), writer.Durable(), writer.Format())
	}
	ctx, s, rng := within(t), &source{at: 4096}, rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		must(t, writer.Append(ctx, s.next(rng.IntN(3000))))
	}
	must(t, writer.Flush(ctx))
	same(t, w.records(), s.made)
	p := writer.Progress()
	if p.Durable != s.at || p.Tail != s.at || p.BufferedBytes != 0 || p.FlightBytes != 0 || p.Node != 1 {
		t.Errorf("after Flush: %+v", p)
	}
	mu.Lock()
	defer mu.Unlock()
	count, last := 0, pinetree.LSN(0)
	for _, a := range acked {
		if a.LSN <= last || a.Latency <= 0 || a.Bytes <= 0 {
			t.Errorf("after %s: %+v", last, a)
		}
		count, last = count+a.Records, a.LSN
	}
	if count != 2000 || last != s.at {
		t.Errorf("%d records acknowledged up to %s", count, last)
	}
	must(t, writer.Close())
	if err := writer.Append(ctx, s.next(1)); !errors.Is(err, pinetree.ErrStopped) {
		t.Errorf("append after Close: %v", err)
	}
}

// TestCompressedBatchesSayTheSame ships payloads that become smaller and noise, also
// over a change of leader, and reads them back.
func TestCompressedBatchesSayTheSame(t *testing.T) {
	w := newWorld(t)
	var encoded atomic.Int64
	c := w.dial(nil)
	writer, err := c.OpenWriter(within(t), WriterConfig{Compress: true, Acked: func(a Acked) { encoded.Add(int64(a.Bytes)) }})
	must(t, err)
	ctx, s, rng := within(t), &source{}, rand.New(rand.NewPCG(1, 2))
	payload := 0
	for i := range 1000 {
		r := s.next(2000)
		if i/250%2 == 0 { // words, then noise, then words again
			copy(r.Payload, strings.Repeat("what is written ", 125))
		} else {
			for j := range r.Payload {
				r.Payload[j] = byte(rng.Uint32())
			}
		}
		payload += len(r.Payload)
		must(t, writer.Append(ctx, r))
		if i == 400 {
			w.change(func() { w.elect(2, 0) })
		}
	}
	must(t, writer.Flush(ctx))
	same(t, w.records(), s.made)
	if got := int(encoded.Load()); got < payload/2 || got > payload*3/4 {
		t.Errorf("%d bytes of payload, half of it words, are %d encoded", payload, got)
	}
	read, err := collect(t, c.Reader(ReadConfig{}), 0)
	must(t, err)
	same(t, read, s.made)
	must(t, writer.Close())
}

func TestRecordsOfOneAppendStayInOneBatch(t *testing.T) {
	w := newWorld(t)
	writer := w.open(WriterConfig{BatchBytes: 4000})
	ctx, s := within(t), &source{}
	ends := map[pinetree.LSN]bool{0: true}
	for i := range 300 {
		var records []pinetree.Record
		for range 1 + i%7 {
			records = append(records, s.next(700))
		}
		ends[s.at] = true
		must(t, writer.Append(ctx, records...))
		clear(records) // the slice is the caller's
	}
	must(t, writer.Flush(ctx))
	same(t, w.records(), s.made)
	for _, b := range w.log {
		if !ends[b.Prev] || !ends[b.LSN] {
			t.Errorf("batch (%s, %s] divides an append", b.Prev, b.LSN)
		}
	}
	// 10 MiB fit in no batch: divided, and all there.
	var huge []pinetree.Record
	for range 10 {
		huge = append(huge, s.next(1<<20))
	}
	must(t, writer.Append(ctx, huge...))
	must(t, writer.Flush(ctx))
	same(t, w.records(), s.made)
}

func TestBatchesGrowUnderLoadAndNothingWaitsWhenIdle(t *testing.T) {
	w := newWorld(t)
	w.hold = true
	writer := w.open(WriterConfig{SmallBatches: 2, BatchBytes: 10_000})
	ctx, s := within(t), &source{}
	for i := range 2 {
		must(t, writer.Append(ctx, s.next(10)))
		w.await("a lone record leaves at once", func() bool { return len(w.inRaft) == i+1 })
	}
	for range 500 {
		must(t, writer.Append(ctx, s.next(10)))
	}
	// 500 records take some 15 kB: one full batch leaves, the rest waits.
	w.await("a full batch leaves", func() bool { return len(w.inRaft) == 3 })
	w.change(func() { w.hold = false; w.commit(len(w.inRaft)) })
	must(t, writer.Flush(ctx))
	if len(w.log) != 4 {
		t.Errorf("%d batches, expected 2 of one record and 2 with the rest", len(w.log))
	}
	same(t, w.records(), s.made)
}

func TestAppendWaitsWhileTheWindowIsFull(t *testing.T) {
	w := newWorld(t)
	w.hold = true
	writer := w.open(WriterConfig{WindowBytes: 10_000})
	ctx, s := within(t), &source{}
	for range 9 {
		must(t, writer.Append(ctx, s.next(1000)))
	}
	late := s.next(1000)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := writer.Append(short, late); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "wait for their acknowledgement") {
		t.Fatalf("append beyond the window: %v", err)
	}
	appended := make(chan error)
	go func() { appended <- writer.Append(ctx, late) }()
	select {
	case err := <-appended:
		t.Fatalf("append beyond the window returned %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	w.change(func() { w.hold = false; w.commit(len(w.inRaft)) })
	must(t, <-appended)
	// One Append fits whatever its size, once nothing else waits.
	must(t, writer.Flush(ctx))
	must(t, writer.Append(ctx, s.next(1<<20)))
	must(t, writer.Flush(ctx))
	same(t, w.records(), s.made)
}

func TestWrongRecordsAreRefusedAndTheWriterGoesOn(t *testing.T) {
	w := newWorld(t)
	writer := w.open(WriterConfig{})
	ctx, s := within(t), &source{}
	must(t, writer.Append(ctx, s.next(10)))
	for _, wrong := range [][]pinetree.Record{
		{{Prev: s.at + 1, LSN: s.at + 2}},
		{{Prev: s.at - 1, LSN: s.at + 2}},
		{{Prev: s.at, LSN: s.at}},
		{{Prev: s.at, LSN: s.at + 5}, {Prev: s.at + 4, LSN: s.at + 9}},
		{{Prev: s.at, LSN: s.at + 5, Payload: make([]byte, storepb.MaxBatchBytes)}},
	} {
		if err := writer.Append(ctx, wrong...); !errors.Is(err, pinetree.ErrBadBatch) {
			t.Errorf("(%s, %s]: %v", wrong[0].Prev, wrong[0].LSN, err)
		}
	}
	must(t, writer.Append(ctx))
	must(t, writer.Append(ctx, s.next(10)))
	must(t, writer.Flush(ctx))
	if err := writer.WaitDurable(ctx, s.at+1); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("waiting for what was never appended: %v", err)
	}
	same(t, w.records(), s.made)
}

func TestAFencedWriterIsToldForGoodAndHowFarItGot(t *testing.T) {
	w := newWorld(t)
	old := w.open(WriterConfig{})
	ctx, s := within(t), &source{}
	must(t, old.Append(ctx, s.next(100)))
	must(t, old.Flush(ctx))
	// Two batches are in flight when the next writer opens: its fence comes
	// after the first of them.
	w.change(func() { w.hold = true })
	must(t, old.Append(ctx, s.next(100)))
	committed := s.at
	w.await("the first batch", func() bool { return len(w.inRaft) == 1 })
	must(t, old.Append(ctx, s.next(100)))
	w.await("the second batch", func() bool { return len(w.inRaft) == 2 })
	w.change(func() { w.silent = true; w.inRaft = w.inRaft[:1]; w.commit(1); w.hold = false })
	next := w.open(WriterConfig{})
	if next.Term() != 2 || next.Durable() != committed {
		t.Fatalf("term %d, durable %s, want 2 and %s", next.Term(), next.Durable(), committed)
	}
	w.change(func() { w.silent = false })
	// The new writer's records reach beyond all that the old one appended.
	other := &source{at: committed}
	must(t, next.Append(ctx, other.next(5000)))
	must(t, next.Flush(ctx))

	err := old.Flush(ctx)
	stale, ok := errors.AsType[*pinetree.StaleComputeTermError](err)
	if !ok || stale.Term != 2 || stale.Volume != testVolume || stale.Durable < committed {
		t.Fatalf("the fenced writer was told: %v", err)
	}
	for what, err := range map[string]error{"append": old.Append(ctx, s.next(1)), "flush": old.Flush(ctx), "err": old.Err(), "close": old.Close()} {
		if !errors.Is(err, pinetree.ErrStaleComputeTerm) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if old.Durable() != committed {
		t.Errorf("the fenced writer counts its log durable up to %s, it is up to %s", old.Durable(), committed)
	}
	must(t, old.WaitDurable(ctx, committed))
	for lsn, want := range map[pinetree.LSN]adapter.Outcome{committed: adapter.Committed, committed + 108: adapter.Rejected} {
		if r, err := old.Resolve(ctx, lsn); err != nil || r.Outcome != want || r.Term != 2 {
			t.Errorf("what became of %s: %+v, %v; want %s", lsn, r, err, want)
		}
	}
}

func TestAnExplicitTermMustBeNew(t *testing.T) {
	w := newWorld(t)
	first := w.open(WriterConfig{Term: 5})
	if first.Term() != 5 {
		t.Fatalf("opened %d", first.Term())
	}
	for _, term := range []pinetree.ComputeTerm{4, 5} {
		_, err := w.dial(nil).OpenWriter(within(t), WriterConfig{Term: term})
		if stale, ok := errors.AsType[*pinetree.StaleComputeTermError](err); !ok || stale.Term != 5 {
			t.Errorf("term %d after 5: %v", term, err)
		}
	}
	must(t, first.Append(within(t), (&source{}).next(1)))
	must(t, first.Flush(within(t)))
}

func TestTwoWritersOfOneTermAreFoundOut(t *testing.T) {
	w := newWorld(t)
	writer := w.open(WriterConfig{})
	ctx, s := within(t), &source{}
	must(t, writer.Append(ctx, s.next(100)))
	must(t, writer.Flush(ctx))
	b, err := storepb.EncodeBatch(testVolume, writer.Term(), []pinetree.Record{{Prev: s.at, LSN: s.at + 1}})
	must(t, err)
	w.change(func() { must(t, w.offer(w.nodes[0], b)) })
	eventually(t, "the writer's end", func() bool { return writer.Err() != nil })
	if err := writer.Err(); !errors.Is(err, pinetree.ErrBadBatch) || !strings.Contains(err.Error(), "another writer") {
		t.Fatalf("got %v", err)
	}
}

func TestCloseSaysWhatIsNotAcknowledged(t *testing.T) {
	w := newWorld(t)
	w.hold = true
	writer := w.open(WriterConfig{})
	s := &source{}
	must(t, writer.Append(within(t), s.next(100)))
	waiting := make(chan error)
	go func() { waiting <- writer.Flush(within(t)) }()
	err := writer.Close()
	if !errors.Is(err, pinetree.ErrStopped) || !strings.Contains(err.Error(), fmt.Sprintf("appended up to %s, durable up to 0/0", s.at)) {
		t.Errorf("Close: %v", err)
	}
	if err := <-waiting; !errors.Is(err, pinetree.ErrStopped) {
		t.Errorf("the waiting Flush: %v", err)
	}
	if r, err := writer.Resolve(within(t), s.at); err != nil || r.Outcome != adapter.NotCommitted {
		t.Errorf("Resolve after Close: %+v, %v", r, err)
	}
}
