package ship

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
)

func TestShippingGoesOnAfterEachFault(t *testing.T) {
	full := fmt.Errorf("%w: wait", pinetree.ErrQueueFull)
	for _, fault := range []struct {
		name string
		do   func(w *world)
	}{
		{"the connection breaks", func(w *world) { w.nodes[0].restart() }},
		{"the leader dies and another is elected", func(w *world) {
			w.nodes[0].stop()
			w.change(func() { w.elect(2, 0) })
			w.t.Cleanup(func() { w.nodes[0].restart() })
		}},
		{"the leader moves and hints at the next", func(w *world) { w.change(func() { w.managers[0].behind = 1; w.elect(3, 1); w.epoch += w.epoch % 2 }) }},
		{"the leader moves and hints at an id only", func(w *world) { w.change(func() { w.managers[0].behind = 1; w.elect(3, 1); w.epoch += 1 - w.epoch%2 }) }},
		{"nobody leads for a while", func(w *world) {
			w.change(func() { w.elect(0, 1) })
			time.Sleep(50 * time.Millisecond)
			w.change(func() { w.elect(2, 0) })
		}},
		{"every manager is gone and the leader moves", func(w *world) {
			w.managers[0].stop()
			w.change(func() { w.elect(3, 1) })
			w.t.Cleanup(func() { w.managers[0].restart() })
		}},
		{"all that was not acknowledged is lost", func(w *world) { w.change(func() { w.elect(1, 0) }) }},
		{"acknowledgements are lost", func(w *world) {
			w.change(func() { w.silent = true; w.commit(len(w.inRaft)) })
			w.nodes[0].restart()
			w.change(func() { w.silent = false })
		}},
		{"a proposal is dropped and committed all the same", func(w *world) { w.change(w.reset) }},
		{"the queue is full", func(w *world) { w.change(func() { w.refuse = []error{full, full, full} }) }},
		{"the disk is full", func(w *world) {
			w.change(func() { w.refuse = []error{pinetree.ErrDiskFull, pinetree.ErrDiskFull} })
		}},
		{"a batch is damaged on its way", func(w *world) {
			w.change(func() { w.refuse = []error{&pinetree.CorruptError{Where: "batch", What: "CRC32C"}} })
		}},
		{"the leader is frozen and another is elected", func(w *world) {
			w.change(func() { w.nodes[0].frozen = true; w.elect(2, 1) })
			w.t.Cleanup(func() { w.change(func() { w.nodes[0].frozen = false }) })
		}},
		{"the leader was replaced and has not noticed", func(w *world) {
			w.change(func() { w.nodes[0].zombie, w.nodes[0].zombieAt = true, w.at.LSN; w.elect(2, 1) })
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			w := newWorld(t)
			writer := w.open(WriterConfig{StallAfter: 200 * time.Millisecond, BatchBytes: 5000})
			ctx, s := within(t), &source{}
			for range 5 {
				must(t, writer.Append(ctx, s.next(1000)))
			}
			must(t, writer.Flush(ctx))
			w.change(func() { w.hold = true })
			for range 50 {
				must(t, writer.Append(ctx, s.next(1000)))
			}
			w.await("batches in flight", func() bool { return len(w.inRaft) > 2 })
			fault.do(w)
			w.change(func() { w.hold = false; w.commit(len(w.inRaft)) })
			for range 50 {
				must(t, writer.Append(ctx, s.next(1000)))
			}
			must(t, writer.Flush(ctx))
			same(t, w.records(), s.made)
			must(t, writer.Close())
		})
	}
}

func TestAFullQueueMakesTheWriterSlowerAndNotWrong(t *testing.T) {
	w := newWorld(t)
	w.limits = adapter.Limits{MaxHeldBytes: 20_000, MaxHeldBatches: 100}
	w.queue = adapter.NewQueue(w.at, w.limits)
	writer := w.open(WriterConfig{BatchBytes: 5000, WindowBytes: 200_000})
	ctx, s := within(t), &source{}
	// What is in raft's hands counts as held here: batches beyond 20 kB are refused.
	w.change(func() { w.hold = true })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil && !w.holds(400*1008) {
			w.change(func() {
				if len(w.inRaft) >= 4 {
					w.refuse = []error{pinetree.ErrQueueFull}
				}
				w.commit(min(2, len(w.inRaft)))
			})
			time.Sleep(time.Millisecond)
		}
	}()
	for range 400 {
		must(t, writer.Append(ctx, s.next(1000)))
	}
	must(t, writer.Flush(ctx))
	<-done
	same(t, w.records(), s.made)
	if writer.Progress().Resumes < 2 {
		t.Error("the queue was never full")
	}
}

func TestAWriterThatNobodyServesGivesUpAndTheOutcomeCanBeAsked(t *testing.T) {
	w := newWorld(t)
	writer := w.open(WriterConfig{RetryFor: 300 * time.Millisecond, StallAfter: 100 * time.Millisecond})
	ctx, s := within(t), &source{}
	must(t, writer.Append(ctx, s.next(10)))
	must(t, writer.Flush(ctx))
	w.change(func() { w.elect(0, 0) })
	// An idle writer waits for ever.
	time.Sleep(500 * time.Millisecond)
	must(t, writer.Err())
	must(t, writer.Append(ctx, s.next(10)))
	began := time.Now()
	err := writer.Flush(ctx)
	if !errors.Is(err, pinetree.ErrNotLeader) || !strings.Contains(err.Error(), "gave up, nothing was acknowledged for") || time.Since(began) > 5*time.Second {
		t.Fatalf("after %s: %v", time.Since(began), err)
	}
	if again := writer.Append(ctx, s.next(10)); again == nil || again.Error() != err.Error() {
		t.Errorf("append afterwards: %v", again)
	}
	w.change(func() { w.elect(2, 0) })
	if r, err := writer.Resolve(ctx, 36); err != nil || r.Outcome != adapter.NotCommitted || r.Durable != 18 {
		t.Errorf("resolve: %+v, %v", r, err)
	}
	if err := writer.Close(); !errors.Is(err, pinetree.ErrNotLeader) {
		t.Errorf("close: %v", err)
	}
}

func TestDialTriesEveryManagerAndSaysWhatFailed(t *testing.T) {
	w := newWorld(t)
	dead := &fakeManager{world: w}
	dead.start(dead.nothing)
	dead.stop()
	c := w.dial(func(cfg *Config) { cfg.Managers = append([]string{dead.addr}, cfg.Managers...) })
	if r := c.Route(); r.Volume != testVolume || r.Group != testGroup || r.Leader != 1 || len(r.Replicas) != 3 || r.Replicas[1].Zone != "zone-2" {
		t.Errorf("route: %+v", r)
	}
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := Dial(short, Config{Managers: []string{dead.addr}, Volume: "db"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), dead.addr) {
		t.Errorf("no manager: %v", err)
	}
	if _, err := Dial(context.Background(), Config{Managers: []string{dead.addr}, Volume: "db", RetryFor: 100 * time.Millisecond}); err == nil || !strings.Contains(err.Error(), "gave up after") {
		t.Errorf("no manager: %v", err)
	}
	if _, err := Dial(within(t), Config{Managers: []string{dead.addr, w.managers[0].addr}, Volume: "none"}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("no such volume: %v", err)
	}
	if _, err := Dial(within(t), Config{Volume: "db"}); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("no managers given: %v", err)
	}
}

func TestAClosedClientEndsItsWritersAndReads(t *testing.T) {
	w := newWorld(t)
	c := w.dial(nil)
	writer, err := c.OpenWriter(within(t), WriterConfig{})
	must(t, err)
	w.change(func() { w.hold = true })
	must(t, writer.Append(within(t), (&source{}).next(1)))
	flushed, tailed := make(chan error, 1), make(chan error, 1)
	go func() { flushed <- writer.Flush(context.Background()) }()
	go func() {
		_, err := c.Reader(ReadConfig{}).Tail(context.Background(), TailQuery{Follow: true}, func(pinetree.Record) error { return nil })
		tailed <- err
	}()
	time.Sleep(20 * time.Millisecond)
	must(t, c.Close())
	_, stateErr := c.Reader(ReadConfig{}).State(context.Background())
	for what, err := range map[string]error{"flush": <-flushed, "tail": <-tailed, "state": stateErr} {
		if !errors.Is(err, pinetree.ErrStopped) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
