package fanout

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinetree-db/pinetree"
)

func TestTailsAreLimitedPerVolumeAndNode(t *testing.T) {
	limits := small()
	limits.Tails = 3
	s := newStore(t, limits)
	var open []*Tail
	for range 2 {
		tail, err := s.replica.Open(1, 2)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, tail)
	}
	if _, err := s.replica.Open(1, 2); !errors.Is(err, pinetree.ErrOverQuota) || !strings.Contains(err.Error(), "2 tails open on this node, and its settings allow 2") {
		t.Errorf("the third of two: %v", err)
	}
	other, err := s.replica.Open(2, 2)
	if err != nil {
		t.Fatalf("another volume: %v", err)
	}
	if _, err := s.replica.Open(3, 0); !errors.Is(err, pinetree.ErrQueueFull) || !strings.Contains(err.Error(), "3 tails") {
		t.Errorf("the fourth of three on the node: %v", err)
	}
	other.Close()
	open[0].Close()
	again, err := s.replica.Open(1, 2)
	if err != nil {
		t.Fatalf("after another one was closed: %v", err)
	}
	again.Close()
	open[1].Close()
	if n := s.replica.few.Load(); n != 0 || len(s.replica.rings) != 0 || len(s.replica.hub.rings) != 0 || s.replica.hub.tails != 0 {
		t.Errorf("after all were closed: %d rings, %d tails", n, s.replica.hub.tails)
	}
}

func TestRingsShareTheNodesMemory(t *testing.T) {
	limits := Limits{RingBytes: 100_000, NodeBytes: 250_000, ResponseBytes: 1 << 20, Tails: 100, MinCatchUpRate: 1, MaxCatchUpRate: 1}
	h := NewHub(limits)
	defer h.Close()
	p := h.Replica()
	var open []*Tail
	for id := range pinetree.VolumeID(10) {
		tail, err := p.Open(id+1, 0)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, tail)
		var j journal
		for range 200 {
			b := j.add(1, 1_000)
			b.Volume = id + 1
			p.Committed([]pinetree.Batch{b})
		}
		total := 0
		for r := range h.rings {
			// A ring whose share becomes smaller gives up what is oldest in large pieces.
			if r.window.bytes < min(100_000, 250_000/len(h.rings))*4/10 {
				t.Errorf("%d rings: one has %d bytes", len(h.rings), r.window.bytes)
			}
			total += r.window.bytes
		}
		if s := h.Stats(); s.RingBytes != total || s.Open != len(open) {
			t.Errorf("%+v; %d bytes, %d tails", s, total, len(open))
		}
		if total > limits.NodeBytes {
			t.Errorf("%d rings have %d bytes", len(h.rings), total)
		}
	}
	for _, tail := range open {
		tail.Close()
	}
}

func TestAnswersBecomeSmallerWithManyTails(t *testing.T) {
	l := DefaultLimits()
	for tails, want := range map[int]int{0: 1 << 20, 64: 1 << 20, 128: 512 << 10, 1000: 67_108, 4096: 64 << 10} {
		if got := l.response(tails); got != want {
			t.Errorf("%d tails: %d bytes an answer, want %d", tails, got, want)
		}
	}
}

func TestATailEndsWithItsReplicaAndItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, small())
		s.write(1, 10, 0)
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 2)
		for _, c := range []context.Context{ctx, t.Context()} {
			r := &reader{store: s, query: Query{Follow: true}}
			go func() {
				r.run(c, func() pinetree.LSN { return 1 << 60 })
				ended <- r.err
			}()
		}
		time.Sleep(time.Second) // both wait for more
		left := errors.New("the client left")
		cancel(left)
		if err := <-ended; !errors.Is(err, left) {
			t.Errorf("the client left: %v", err)
		}
		s.replica.Stop()
		if err := <-ended; !errors.Is(err, pinetree.ErrStopped) {
			t.Errorf("the replica stopped: %v", err)
		}
		if _, err := s.replica.Open(1, 0); !errors.Is(err, pinetree.ErrStopped) {
			t.Errorf("opened after it stopped: %v", err)
		}
	})
}

func TestWhatIsGoneAndWhatIsMissingIsTold(t *testing.T) {
	s := newStore(t, small())
	for range 10 {
		s.write(10, 10, 0)
	}
	nothing := func() pinetree.LSN { return 1 << 60 }
	s.at.Truncated = 50
	r := &reader{store: s, query: Query{From: 20}}
	r.run(t.Context(), nothing)
	var gone *pinetree.TruncatedError
	if !errors.As(r.err, &gone) || gone.Volume != 1 || gone.Asked != 20 || gone.First != 50 {
		t.Errorf("from 20 of a log that begins at 50: %v", r.err)
	}
	r = &reader{store: s, query: Query{From: 50}}
	r.run(t.Context(), nothing)
	if err := r.check(100); err != nil {
		t.Error(err)
	}
	s.journal.batches = append(s.journal.batches[:7], s.journal.batches[8:]...)
	s.applied--
	r = &reader{store: s, query: Query{From: 50}}
	r.run(t.Context(), nothing)
	if !errors.Is(r.err, pinetree.ErrCorrupt) {
		t.Errorf("a batch is missing: %v", r.err)
	}
}

// TestAVolumeWhoseBaseIsSetLaterIsFollowed begins a tail before the first fence.
func TestAVolumeWhoseBaseIsSetLaterIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, small())
		r := &reader{store: s, query: Query{Follow: true}}
		ended := make(chan struct{})
		go func() {
			r.run(t.Context(), func() pinetree.LSN { return 110 })
			close(ended)
		}()
		synctest.Wait()
		s.at.Base, s.journal.end = 100, 100
		s.apply()
		synctest.Wait()
		s.write(10, 10, 0)
		<-ended
		if err := r.check(110); err != nil || len(r.got) != 1 {
			t.Errorf("%d batches, %v", len(r.got), err)
		}
	})
}

func TestPaceGivesWayToOthers(t *testing.T) {
	now := time.Unix(0, 0)
	p := newPace(Limits{MinCatchUpRate: 1 << 20, MaxCatchUpRate: 1 << 30})
	if due := p.reserve(1<<20, now); !due.Equal(now) {
		t.Errorf("the first waits until %v", due)
	}
	if due := p.reserve(1<<20, now); due.Sub(now).Round(time.Microsecond) != 977*time.Microsecond {
		t.Errorf("the second waits for %v at 1 GiB/s", due.Sub(now))
	}
	for range 100 {
		now = now.Add(time.Second)
		p.woke(2*paceLate, now)
	}
	if p.rate != 1<<20 {
		t.Errorf("%v bytes/s when all wake late", p.rate)
	}
	p.woke(0, now)
	now = now.Add(time.Millisecond)
	before := p.rate
	p.woke(time.Second, now)
	if p.rate != before {
		t.Error("lowered again before the last time could show an effect")
	}
	for range 1_000 {
		p.woke(paceLate, now)
	}
	if p.rate != 1<<30 {
		t.Errorf("%v bytes/s when nobody wakes late", p.rate)
	}
}
