package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// fill ships records "k000=value …" in batches of three and returns them.
func fill(w *world, count int) []pinetree.Record {
	w.t.Helper()
	writer := w.open(WriterConfig{Base: 100})
	var made []pinetree.Record
	at := pinetree.LSN(100)
	for i := 0; i < count; i += 3 {
		var unit []pinetree.Record
		for j := i; j < min(i+3, count); j++ {
			unit = append(unit, pinetree.Record{Prev: at, LSN: at + 10, Payload: fmt.Appendf(nil, "k%03d=value %d", j, j)})
			at += 10
		}
		must(w.t, writer.Append(within(w.t), unit...))
		must(w.t, writer.Flush(within(w.t)))
		made = append(made, unit...)
	}
	must(w.t, writer.Close())
	return made
}

func TestReadsAreAnsweredByWhoeverMay(t *testing.T) {
	w := newWorld(t)
	made := fill(w, 9)
	end := made[len(made)-1].LSN
	c := w.dial(func(cfg *Config) {
		cfg.Zone = "zone-3"
		// On a busy machine the one that is asked may be late, and is not passed over.
		cfg.AttemptTimeout, cfg.ConnectTimeout, cfg.Hedge.Off = patience, patience, true
	})
	ctx := within(t)
	for _, test := range []struct {
		cfg  ReadConfig
		node pinetree.NodeID
	}{
		{ReadConfig{}, 1},
		{ReadConfig{Level: pinetree.ReadStale}, 3},
		{ReadConfig{Level: pinetree.ReadConsistent}, 3},
		{ReadConfig{Level: pinetree.ReadStale, Node: 2}, 2},
		{ReadConfig{Level: pinetree.ReadConsistent, Node: 1, MinLSN: 5}, 1},
	} {
		r := c.Reader(test.cfg)
		want := Served{LSN: end, Level: test.cfg.Level, Node: test.node, Stale: -1}
		if test.cfg.Level != pinetree.ReadStale {
			want.Stale = 0
		}
		key, err := r.Key(ctx, []byte("k004"))
		must(t, err)
		page, err := r.Page(ctx, 5)
		must(t, err)
		ranged, err := r.Range(ctx, RangeQuery{Start: []byte("k002"), End: []byte("k008"), Limit: 4})
		must(t, err)
		state, err := r.State(ctx)
		must(t, err)
		digest, err := r.Digest(ctx)
		must(t, err)
		for what, got := range map[string]Served{"key": key.Served, "page": page.Served, "range": ranged.Served, "state": state.Served, "digest": digest.Served} {
			if got != want {
				t.Errorf("%s: served %+v, want %+v", what, got, want)
			}
		}
		if string(key.Value) != "value 4" || key.KeyLSN != made[4].LSN || !bytes.Equal(page.Page, made[5].Payload) || page.PageLSN != made[5].LSN {
			t.Errorf("key %+v, page %+v", key, page)
		}
		if len(ranged.Items) != 4 || !ranged.More || string(ranged.Items[3].Key) != "k005" || string(ranged.Items[3].Value) != "value 5" || ranged.Items[3].LSN != made[5].LSN {
			t.Errorf("range %+v", ranged)
		}
		if state.Group != testGroup || state.Term != 1 || state.Base != 100 || state.Format != pinetree.FormatOpaque || state.Watermarks.Committed != end || state.Watermarks.Disorder() != "" {
			t.Errorf("state %+v", state)
		}
		if digest.Records != 9 || digest.Bytes == 0 || len(digest.Sum) != 32 {
			t.Errorf("digest %+v", digest)
		}
	}
}

func TestReadsOfAllReplicasAndPastDeadOnes(t *testing.T) {
	w := newWorld(t)
	fill(w, 3)
	c := w.dial(nil)
	r := c.Reader(ReadConfig{Level: pinetree.ReadStale})
	seen := map[pinetree.NodeID]int{}
	for range 60 {
		state, err := r.State(within(t))
		must(t, err)
		seen[state.Node]++
	}
	if len(seen) != 3 {
		t.Errorf("not every replica serves reads: %v", seen)
	}
	w.nodes[1].stop()
	w.change(func() { w.nodes[2].frozen = true })
	t.Cleanup(func() { w.nodes[1].restart(); w.change(func() { w.nodes[2].frozen = false }) })
	for range 6 {
		if state, err := r.State(within(t)); err != nil || state.Node != 1 {
			t.Errorf("served by %d: %v", state.Node, err)
		}
	}
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := c.Reader(ReadConfig{Level: pinetree.ReadStale, Node: 2}).State(short)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "node 2 at "+w.nodes[1].addr) {
		t.Errorf("a dead node by name: %v", err)
	}
	short, cancel = context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.Reader(ReadConfig{Level: pinetree.ReadStale, Node: 9}).State(short); err == nil || !strings.Contains(err.Error(), "node 9 holds no replica") {
		t.Errorf("an unknown node: %v", err)
	}
}

func TestDefaultReadsFollowTheLeaderWithoutManagers(t *testing.T) {
	w := newWorld(t)
	fill(w, 3)
	c := w.dial(nil)
	w.managers[0].stop()
	t.Cleanup(func() { w.managers[0].restart() })
	r := c.Reader(ReadConfig{})
	for _, leader := range []pinetree.NodeID{2, 3, 1, 3} {
		w.change(func() { w.elect(leader, 0) })
		if state, err := r.State(within(t)); err != nil || state.Node != leader {
			t.Errorf("%d leads, %d answered: %v", leader, state.Node, err)
		}
	}
	began := time.Now()
	for range 20 {
		_, err := r.State(within(t))
		must(t, err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("20 reads with a known leader took %s", took)
	}
}

func TestALeaderThatNoRouteNamesIsFoundByItsHint(t *testing.T) {
	w := newWorld(t)
	fill(w, 3)
	c := w.dial(nil)
	w.managers[0].stop()
	t.Cleanup(func() { w.managers[0].restart() })
	added := &fakeNode{world: w, id: 4}
	added.start(func(s *grpc.Server) { wirepb.RegisterReadsServer(s, fakeReads{node: added}) })
	w.change(func() { w.nodes = append(w.nodes, added); w.elect(4, 0); w.epoch += w.epoch % 2 })
	for range 3 {
		if state, err := c.Reader(ReadConfig{}).State(within(t)); err != nil || state.Node != 4 {
			t.Fatalf("%d answered: %v", state.Node, err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if others := w.nodes[0].reads + w.nodes[1].reads + w.nodes[2].reads; others != 1 || added.reads != 3 {
		t.Errorf("the leader was asked %d times, the others %d times: want 3 and 1", added.reads, others)
	}
}

func TestWhatIsNotThereIsSaidAtOnce(t *testing.T) {
	w := newWorld(t)
	fill(w, 3)
	r := w.dial(nil).Reader(ReadConfig{})
	began := time.Now()
	if _, err := r.Key(within(t), []byte("nope")); !errors.Is(err, pinetree.ErrNotFound) || !strings.Contains(err.Error(), `read key "nope"`) {
		t.Errorf("key: %v", err)
	}
	if _, err := r.Page(within(t), 77); !errors.Is(err, pinetree.ErrNotFound) {
		t.Errorf("page: %v", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("that took %s", took)
	}
}

// collect tails and returns what came.
func collect(t *testing.T, r *Reader, from pinetree.LSN) ([]pinetree.Record, error) {
	t.Helper()
	var got []pinetree.Record
	end, err := r.Tail(within(t), TailQuery{From: from}, func(rec pinetree.Record) error { got = append(got, rec); return nil })
	if len(got) > 0 && end != got[len(got)-1].LSN || len(got) == 0 && end != from {
		t.Errorf("Tail says that it got to %s, the last record ends at %v", end, got)
	}
	return got, err
}

func TestTailBeginsAtAnyRecord(t *testing.T) {
	w := newWorld(t)
	made := fill(w, 20)
	r := w.dial(nil).Reader(ReadConfig{Level: pinetree.ReadStale})
	got, err := collect(t, r, 0)
	must(t, err)
	same(t, got, made)
	for i, rec := range made {
		got, err := collect(t, r, rec.LSN)
		must(t, err)
		same(t, got, made[i+1:])
	}
	if _, err := collect(t, r, made[3].LSN+1); !errors.Is(err, pinetree.ErrBadBatch) || !strings.Contains(err.Error(), "no record ends at") {
		t.Errorf("from the middle of a record: %v", err)
	}
	w.change(func() { w.at.Truncated = made[8].LSN })
	_, err = collect(t, r, made[3].LSN)
	if gone, ok := errors.AsType[*pinetree.TruncatedError](err); !ok || gone.First != made[8].LSN {
		t.Errorf("from what is gone: %v", err)
	}
}

func TestTailGoesOnAfterBrokenConnectionsAndEndsWithTheCallersError(t *testing.T) {
	w := newWorld(t)
	made := fill(w, 60)
	answers := 0
	for _, n := range w.nodes {
		n.tailFault = func(*wirepb.TailRequest, *wirepb.TailResponse) error {
			if answers++; answers%2 == 0 {
				return pinetree.ErrStopped
			}
			return nil
		}
	}
	for _, cfg := range []ReadConfig{{}, {Level: pinetree.ReadStale}, {Level: pinetree.ReadStale, Node: 2}} {
		got, err := collect(t, w.dial(nil).Reader(cfg), 0)
		must(t, err)
		same(t, got, made)
	}
	stop := errors.New("enough")
	calls := 0
	end, err := w.dial(nil).Reader(ReadConfig{}).Tail(within(t), TailQuery{}, func(pinetree.Record) error {
		if calls++; calls == 5 {
			return stop
		}
		return nil
	})
	if err != stop || calls != 5 || end != made[3].LSN {
		t.Errorf("%d calls, up to %s: %v", calls, end, err)
	}
}

func TestTailFollowsTheWriterThroughLeaders(t *testing.T) {
	w := newWorld(t)
	writer := w.open(WriterConfig{})
	s := &source{}
	ctx, cancel := context.WithCancel(within(t))
	var got []pinetree.Record
	ended := make(chan error, 1)
	go func() {
		_, err := w.dial(nil).Reader(ReadConfig{}).Tail(ctx, TailQuery{Follow: true}, func(r pinetree.Record) error {
			got = append(got, r)
			if len(got) == 90 {
				cancel()
			}
			return nil
		})
		ended <- err
	}()
	for round := range 3 {
		for range 30 {
			must(t, writer.Append(within(t), s.next(200)))
		}
		must(t, writer.Flush(within(t)))
		w.nodes[w.leader-1].restart()
		w.change(func() { w.elect(pinetree.NodeID(round%3+1), 0) })
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	same(t, got, s.made)
}

func TestDamagedLogsAreNotServed(t *testing.T) {
	flip := func(r *wirepb.TailResponse) error {
		r.Batches[0] = slices.Clone(r.Batches[0])
		r.Batches[0][60] ^= 1
		return nil
	}
	hole := func(r *wirepb.TailResponse) error {
		if len(r.Batches) == 2 {
			r.Batches = r.Batches[1:]
		}
		return nil
	}
	foreign := func(r *wirepb.TailResponse) error {
		b, err := storepb.EncodeBatch(testVolume+1, 1, []pinetree.Record{{Prev: 130, LSN: 140}})
		r.Batches = [][]byte{b.Encoded}
		return err
	}
	straddle := func(r *wirepb.TailResponse) error {
		first, err := storepb.EncodeBatch(testVolume, 1, []pinetree.Record{{Prev: 130, LSN: 140}})
		second, err2 := storepb.EncodeBatch(testVolume, 1, []pinetree.Record{{Prev: 135, LSN: 150}})
		r.Batches = [][]byte{first.Encoded, second.Encoded}
		return errors.Join(err, err2)
	}
	for name, fault := range map[string]func(*wirepb.TailResponse) error{"flipped bit": flip, "hole": hole, "another volume": foreign, "overlap": straddle} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			made := fill(w, 12)
			w.nodes[0].tailFault = func(_ *wirepb.TailRequest, r *wirepb.TailResponse) error { return fault(r) }
			got, err := collect(t, w.dial(nil).Reader(ReadConfig{}), made[2].LSN)
			if !errors.Is(err, pinetree.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
			for i, r := range got {
				if want := made[3].Prev + pinetree.LSN(10*i); r.Prev != want {
					t.Errorf("record %d begins at %s, want %s", i, r.Prev, want)
				}
			}
		})
	}
}
