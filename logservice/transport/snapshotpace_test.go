package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestAHangingSenderIsGivenUp(t *testing.T) {
	b, k := &book{}, newTaker()
	release := make(chan struct{})
	sender := start(t, b, 1, stalling(300*time.Millisecond))
	receiver := start(t, b, 2, both(k.into, stalling(300*time.Millisecond)))
	done := make(chan error, 1)
	go func() {
		done <- sender.SendSnapshot(t.Context(), 2, route{1, 2}.snapshot(4), func(fn func([]byte) error) error {
			_ = fn([]byte("one"))
			<-release // such as a disk that does not answer
			return fn([]byte("two"))
		})
	}()
	if got := k.result(t); got.err == nil || errors.Is(got.err, io.EOF) {
		t.Errorf("the taker was told %v", got.err)
	}
	eventually(t, "the receiver's place is free", func() bool { return receiver.SnapshotStats().Taking == 0 })
	close(release)
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no progress for 300ms") {
		t.Error(err)
	}
}

func TestASlowSnapshotIsNotGivenUpWhileItGoesOn(t *testing.T) {
	b, k := &book{}, newTaker()
	k.step = func(context.Context, int) error {
		time.Sleep(100 * time.Millisecond)
		return nil
	}
	sender := start(t, b, 1, stalling(400*time.Millisecond))
	start(t, b, 2, both(k.into, stalling(400*time.Millisecond)))
	p := pieces{8, 1000}
	if err := sender.SendSnapshot(t.Context(), 2, route{1, 2}.snapshot(4), func(fn func([]byte) error) error {
		return p.chunks()(func(chunk []byte) error {
			time.Sleep(100 * time.Millisecond)
			return fn(chunk)
		})
	}); err != nil {
		t.Error(err)
	}
}

// TestWhoeverStopsASnapshotFreesBothEnds lets a snapshot run against a receiver
// that waits, stops it in some way, and sees that both ends are told.
func TestWhoeverStopsASnapshotFreesBothEnds(t *testing.T) {
	errOperator := errors.New("the group was removed")
	for name, test := range map[string]struct {
		stop func(cancel context.CancelCauseFunc, sender, receiver *node)
		says string
	}{
		"the caller cancels": {func(cancel context.CancelCauseFunc, _, _ *node) { cancel(errOperator) }, errOperator.Error()},
		"the sender closes":  {func(_ context.CancelCauseFunc, sender, _ *node) { _ = sender.Close() }, "node 1 is stopping"},
		"the receiver closes while its server runs": {func(_ context.CancelCauseFunc, _, receiver *node) {
			_ = receiver.Close()
			receiver.server.GracefulStop() // returns only when no handler runs
		}, "node 2 is stopping"},
		"the receiver's process ends": {func(_ context.CancelCauseFunc, _, receiver *node) { receiver.server.Stop() }, "node 2"},
	} {
		t.Run(name, func(t *testing.T) {
			b, k := &book{}, newTaker()
			begun := make(chan struct{}, 1)
			k.step = func(ctx context.Context, chunks int) error {
				if chunks == 1 {
					begun <- struct{}{}
					<-ctx.Done()
				}
				return nil
			}
			sender, receiver := start(t, b, 1, nil), start(t, b, 2, k.into)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			done := make(chan error, 1)
			go func() { done <- sender.SendSnapshot(ctx, 2, route{1, 2}.snapshot(4), pieces{100, 1 << 20}.chunks()) }()
			<-begun
			stopped := make(chan struct{})
			go func() { defer close(stopped); test.stop(cancel, sender, receiver) }()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("want %q, got %v", test.says, err)
				}
			case <-time.After(patience):
				t.Fatal("SendSnapshot does not return")
			}
			if got := k.result(t); got.err == nil {
				t.Error("the taker was not told")
			}
			select {
			case <-stopped:
			case <-time.After(patience):
				t.Fatal("the stop waits for ever")
			}
			eventually(t, "no place is held", func() bool { return sender.SnapshotStats().Sending+receiver.SnapshotStats().Taking == 0 })
		})
	}
}

func TestAPeerThatIsNotThereIsReportedSoon(t *testing.T) {
	b := &book{}
	sender := start(t, b, 1, func(_ *node, cfg *Config) { cfg.ConnectTimeout = 200 * time.Millisecond })
	b.set(2, blackHole(t))
	began := time.Now()
	err := sender.SendSnapshot(t.Context(), 2, route{1, 2}.snapshot(4), pieces{1, 1}.chunks())
	if took := time.Since(began); err == nil || took > 5*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	if err := sender.Close(); err != nil {
		t.Fatal(err)
	}
	if err := sender.SendSnapshot(t.Context(), 2, route{1, 2}.snapshot(4), pieces{1, 1}.chunks()); !errors.Is(err, pinetree.ErrStopped) {
		t.Errorf("after Close: %v", err)
	}
}

// TestTheRateBoundsAllSnapshotsOfANode sends two at once.
func TestTheRateBoundsAllSnapshotsOfANode(t *testing.T) {
	b := &book{}
	const bytesPerSecond = 16 << 20
	sender := start(t, b, 1, func(_ *node, cfg *Config) { cfg.Snapshots.BytesPerSecond = bytesPerSecond })
	p := pieces{6, 1 << 20}
	var all sync.WaitGroup
	began := time.Now()
	for to := pinetree.NodeID(2); to <= 3; to++ {
		start(t, b, to, newTaker().into)
		all.Go(func() {
			if err := sender.SendSnapshot(t.Context(), to, route{1, to}.snapshot(1), p.chunks()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	// What may leave at once at the start is not counted.
	least := time.Duration(float64(2*6-1) / 16 * float64(time.Second))
	if took < least*9/10 || took > 3*least {
		t.Errorf("12 MiB at 16 MiB/s took %v, want about %v", took, least)
	}
}

// slowLink is a proxy that passes what is sent to an address on at a rate, for
// each connection by itself, as a network does that shares fairly.
func slowLink(t *testing.T, to string, bytesPerSecond int) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	pass := func(in, out net.Conn, pace time.Duration) {
		defer in.Close()
		defer out.Close()
		for {
			if _, err := io.CopyN(out, in, 16<<10); err != nil {
				return
			}
			time.Sleep(pace)
		}
	}
	running.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				return
			}
			running.Go(func() { pass(in, out, time.Second*16<<10/time.Duration(bytesPerSecond)) })
			running.Go(func() { pass(out, in, 0) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); running.Wait() })
	return listener.Addr().String()
}

// TestHeartbeatsDoNotWaitForASnapshot sends a snapshot over a link that it
// fills for a second, to a taker that is slow, and heartbeats beside it.
func TestHeartbeatsDoNotWaitForASnapshot(t *testing.T) {
	b, k := &book{}, newTaker()
	k.step = func(context.Context, int) error { time.Sleep(20 * time.Millisecond); return nil }
	receiver := start(t, b, 2, k.into)
	b.set(2, slowLink(t, receiver.addr, 8<<20))
	sender := start(t, b, 1, nil)
	r := route{1, 2}
	beat := func(i uint64) time.Duration {
		sent := time.Now()
		sender.Send(2, []wirepb.GroupMessage{r.message(raftpb.MsgHeartbeat, i, 0)})
		receiver.await(t, "a heartbeat", func() bool { return len(receiver.received) == int(i) })
		return time.Since(sent)
	}
	beat(1) // connects
	done := make(chan error, 1)
	go func() {
		done <- sender.SendSnapshot(t.Context(), 2, r.snapshot(4), pieces{10, 1 << 20}.chunks())
	}()
	var worst time.Duration
	beats := uint64(1)
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			// On one connection with the snapshot a heartbeat stands behind 4 MiB,
			// half a second.
			if beats < 20 || worst > 250*time.Millisecond {
				t.Errorf("the slowest of %d heartbeats took %v", beats, worst)
			}
			t.Logf("the slowest of %d heartbeats took %v", beats, worst)
			return
		case <-time.After(10 * time.Millisecond):
			beats++
			worst = max(worst, beat(beats))
		}
	}
}
