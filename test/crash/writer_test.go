package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// writer is a compute node. What it writes at a place of the log follows from
// the place.
type writer struct {
	c     *cluster
	term  pinetree.ComputeTerm // zero when it has to open one
	tries int
}

// record is the one that follows on an LSN.
func record(prev pinetree.LSN) pinetree.Record {
	payload := fmt.Appendf(bytes.Repeat([]byte{byte(prev)}, int(prev*7919%173)), "%d", prev)
	return pinetree.Record{Prev: prev, LSN: prev + pinetree.LSN(len(payload)), Payload: payload}
}

// batches cuts the log between two ends of batches. Where one ends follows from
// the place as well.
func batches(term pinetree.ComputeTerm, from pinetree.LSN, count int) (list []pinetree.Batch, end pinetree.LSN, err error) {
	end = from
	for range count {
		var records []pinetree.Record
		for len(records) == 0 || end%3 > 0 {
			records = append(records, record(end))
			end = records[len(records)-1].LSN
		}
		b, err := storepb.EncodeBatch(theVolume, term, records)
		if err != nil {
			return nil, 0, err
		}
		list = append(list, b)
	}
	return list, end, nil
}

// write appends so many batches, and returns when they are acknowledged.
func (w *writer) write(count int) {
	w.c.t.Helper()
	_, target, err := batches(1, w.c.acked(), count)
	if err != nil {
		w.c.t.Fatal(err)
	}
	w.c.until(fmt.Sprintf("the log is acknowledged up to %s", target), func(ctx context.Context) error {
		return w.attempt(ctx, target)
	})
}

// attempt ships from what is acknowledged on, or, with a new compute term, from
// what is durable.
func (w *writer) attempt(ctx context.Context, target pinetree.LSN) error {
	_, g, err := w.c.leader()
	if err != nil {
		return err
	}
	w.tries++
	from := w.c.acked()
	if w.term == 0 || w.tries%5 == 0 {
		opened, err := g.Open(ctx, theVolume, adapter.Fence{})
		if err != nil {
			return err
		}
		if opened.Durable < w.c.acked() || opened.Term <= w.term {
			w.c.t.Fatalf("%s: compute term %d after %d is opened at %s, and %s was acknowledged", w.c.plan, opened.Term, w.term, opened.Durable, w.c.acked())
		}
		w.term, from = opened.Term, opened.Durable
	}
	if from >= target {
		w.c.ackedLSN.Store(uint64(from))
		return nil
	}
	var list []pinetree.Batch
	for end := from; end < target; {
		more, next, err := batches(w.term, end, 1)
		if err != nil {
			return err
		}
		list, end = append(list, more...), next
	}
	s, err := g.Ship(ctx, theVolume, w.term)
	if errors.Is(err, pinetree.ErrStaleComputeTerm) {
		w.term = 0
	}
	if err != nil {
		return err
	}
	defer s.Close()
	return w.follow(ctx, s, list)
}

func (w *writer) follow(ctx context.Context, s *host.Session, list []pinetree.Batch) error {
	target := list[len(list)-1].LSN
	for len(list) > 0 {
		n := min(2, len(list))
		if err := s.Offer(ctx, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	for {
		p := s.Progress()
		if p.Committed > w.c.acked() {
			w.c.ackedLSN.Store(uint64(p.Committed))
		}
		if p.Err != nil || p.Committed >= target {
			return p.Err
		}
		select {
		case <-s.Changed():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// expected is the digest of the log as it was written, up to an LSN.
func expected(t *testing.T, end pinetree.LSN) engine.DigestResult {
	t.Helper()
	store := memengine.New(memengine.Options{})
	if err := store.Create(theGroup, pinetree.Position{}); err != nil {
		t.Fatal(err)
	}
	model, err := store.Open(theGroup)
	if err != nil {
		t.Fatal(err)
	}
	write := engine.Write{Position: pinetree.Position{Index: 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{
		theVolume: {LSN: end, Format: pinetree.FormatOpaque},
	}}}
	for at := pinetree.LSN(0); at < end; {
		list, next, err := batches(1, at, 1)
		if err != nil {
			t.Fatal(err)
		}
		write.Batches, at = append(write.Batches, list...), next
	}
	if err := model.Apply(write); err != nil {
		t.Fatal(err)
	}
	reader, err := model.Volume(theVolume)
	if err != nil {
		t.Fatal(err)
	}
	d, err := engine.Digest(reader, end)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
