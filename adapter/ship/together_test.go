package ship

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// shared counts the calls for several pages that the nodes answer.
func (w *world) shared() *atomic.Int64 {
	var count atomic.Int64
	for _, n := range w.nodes {
		n.pagesAsked = func(*wirepb.PagesRequest) { count.Add(1) }
	}
	return &count
}

// TestReadsThatShareCallsSeeWhatWasAcknowledgedBefore has many read the page that
// was acknowledged last, all at once, while the leader changes: it is there, and
// the one that comes next is not.
func TestReadsThatShareCallsSeeWhatWasAcknowledgedBefore(t *testing.T) {
	const readers = 6
	w := newWorld(t)
	shared := w.shared()
	c := w.dial(func(cfg *Config) { cfg.Gather.Calls = 1 })
	writer := w.open(WriterConfig{})
	var made []pinetree.Record
	for round := range 40 {
		r := pinetree.Record{Prev: writer.Durable(), LSN: writer.Durable() + 10, Payload: []byte{byte(round)}}
		must(t, writer.Append(within(t), r))
		must(t, writer.Flush(within(t)))
		made = append(made, r)
		level := []pinetree.ReadLevel{pinetree.ReadDefault, pinetree.ReadConsistent}[round%2]
		reader := c.Reader(ReadConfig{Level: level})
		var reading sync.WaitGroup
		for i := range readers {
			reading.Go(func() {
				if i == 0 && round%8 == 7 {
					w.change(func() { w.elect(w.leader%3+1, 0) })
				}
				page := pinetree.PageNo(max(0, round-i%2*3))
				got, err := reader.Page(within(t), page)
				if err != nil || string(got.Page) != string(made[page].Payload) || got.PageLSN != made[page].LSN || got.Level != level || got.LSN != r.LSN {
					t.Errorf("round %d, page %d: %+v, %v", round, page, got, err)
				}
				_, err = reader.Page(within(t), pinetree.PageNo(round+1))
				if !errors.Is(err, pinetree.ErrNotFound) || !strings.Contains(err.Error(), "read page ") {
					t.Errorf("round %d, the page that is not there: %v", round, err)
				}
			})
		}
		reading.Wait()
	}
	if shared.Load() == 0 {
		t.Error("no reads shared a call, so this shows nothing")
	}
	t.Logf("%d calls for several pages", shared.Load())
}

// TestReadsThatShareACallOutliveItsNode freezes the node that has the call.
func TestReadsThatShareACallOutliveItsNode(t *testing.T) {
	w := newWorld(t)
	made := fill(w, 6)
	shared := w.shared()
	c := w.dial(func(cfg *Config) { cfg.Gather.Calls = 1 })
	w.change(func() { w.nodes[0].frozen = true })
	gone, leave := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	for page := range pinetree.PageNo(6) {
		reading.Go(func() {
			got, err := c.Reader(ReadConfig{}).Page(within(t), page)
			if err != nil || string(got.Page) != string(made[page].Payload) || got.Node != 2 {
				t.Errorf("page %d: %+v, %v", page, got, err)
			}
		})
	}
	reading.Go(func() {
		if _, err := c.Reader(ReadConfig{}).Page(gone, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("the read whose caller left: %v", err)
		}
	})
	leave()
	w.change(func() { w.elect(2, 0) })
	reading.Wait()
	w.change(func() { w.nodes[0].frozen = false })
	if shared.Load() == 0 {
		t.Error("no reads shared a call, so this shows nothing")
	}
}

// TestReadsEndWithTheirClient closes a client whose connections stay open.
func TestReadsEndWithTheirClient(t *testing.T) {
	w := newWorld(t)
	fill(w, 3)
	const attempt = 10 * time.Second
	conns := new(Connections)
	t.Cleanup(func() { must(t, conns.Close()) })
	c := w.dial(func(cfg *Config) {
		cfg.Gather.Calls, cfg.AttemptTimeout, cfg.Connections = 1, attempt, conns
	})
	w.change(func() { w.nodes[0].frozen = true })
	var reading sync.WaitGroup
	for page := range pinetree.PageNo(20) {
		reading.Go(func() {
			if _, err := c.Reader(ReadConfig{}).Page(within(t), page); !errors.Is(err, pinetree.ErrStopped) {
				t.Errorf("page %d: %v", page, err)
			}
		})
	}
	reading.Go(func() {
		if _, err := c.Reader(ReadConfig{}).State(within(t)); !errors.Is(err, pinetree.ErrStopped) {
			t.Errorf("state: %v", err)
		}
	})
	time.Sleep(10 * time.Millisecond) // some are under way
	began := time.Now()
	must(t, c.Close())
	reading.Wait()
	if took := time.Since(began); took > attempt/patient {
		t.Errorf("the reads ended %v after the client", took)
	}
	w.change(func() { w.nodes[0].frozen = false })
}

// TestReadsWithOtherSettingsShareNoCall has each ask for a state of its own.
func TestReadsWithOtherSettingsShareNoCall(t *testing.T) {
	w := newWorld(t)
	made := fill(w, 9)
	shared := w.shared()
	c := w.dial(func(cfg *Config) { cfg.Gather.Calls = 1 })
	var reading sync.WaitGroup
	for _, r := range made {
		reading.Go(func() {
			if _, err := c.Reader(ReadConfig{MinLSN: r.LSN}).Page(within(t), 0); err != nil {
				t.Error(err)
			}
		})
	}
	reading.Wait()
	if shared.Load() != 0 {
		t.Errorf("%d calls were shared", shared.Load())
	}
}
