package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// snapshot makes a MsgSnap of a group.
func (r route) snapshot(group pinetree.GroupID) wirepb.GroupMessage {
	m := r.message(raftpb.MsgSnap, 0, 0)
	m.Group = group
	m.Message.Snapshot = &raftpb.Snapshot{
		Data:     []byte("position"),
		Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(7)), Term: new(uint64(3)), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}}},
	}
	return m
}

// pieces makes the chunks of a state: count of size bytes, and what they are
// together.
type pieces struct{ count, size int }

func (p pieces) whole() []byte {
	all := make([]byte, p.count*p.size)
	random := rand.NewChaCha8([32]byte{byte(p.count)})
	_, _ = random.Read(all)
	return all
}

// chunks hands the pieces out in one buffer that is used again, as an engine may.
func (p pieces) chunks() func(fn func([]byte) error) error {
	all := p.whole()
	return func(fn func([]byte) error) error {
		buffer := make([]byte, p.size)
		for len(all) > 0 {
			n := copy(buffer, all)
			all = all[n:]
			if err := fn(buffer[:n]); err != nil {
				return fmt.Errorf("fn: %w", err)
			}
			clear(buffer)
		}
		return nil
	}
}

// taken is what a TakeSnapshot saw.
type taken struct {
	from    pinetree.NodeID
	message wirepb.GroupMessage
	data    []byte
	err     error // of next
}

// taker takes snapshots. step, when not nil, is called before each chunk is
// asked for; its error fails the taking.
type taker struct {
	results chan taken
	step    func(ctx context.Context, chunks int) error
}

func newTaker() *taker { return &taker{results: make(chan taken, 10)} }

func (k *taker) take(ctx context.Context, from pinetree.NodeID, m wirepb.GroupMessage, next func() ([]byte, error)) error {
	got := taken{from: from, message: m}
	defer func() { k.results <- got }()
	for i := 0; ; i++ {
		if k.step != nil {
			if got.err = k.step(ctx, i); got.err != nil {
				return got.err
			}
		}
		chunk, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			got.err = err
			return err
		}
		got.data = append(got.data, chunk...)
	}
}

func (k *taker) into(_ *node, cfg *Config) { cfg.TakeSnapshot = k.take }

// result waits for the next snapshot's end at the taker.
func (k *taker) result(t *testing.T) taken {
	t.Helper()
	select {
	case got := <-k.results:
		return got
	case <-time.After(patience):
		t.Fatal("no TakeSnapshot has ended")
		return taken{}
	}
}

func stalling(d time.Duration) func(*node, *Config) {
	return func(_ *node, cfg *Config) { cfg.Snapshots.Stall = d }
}

func both(changes ...func(*node, *Config)) func(*node, *Config) {
	return func(n *node, cfg *Config) {
		for _, change := range changes {
			change(n, cfg)
		}
	}
}

func TestASnapshotArrivesWhole(t *testing.T) {
	b, k := &book{}, newTaker()
	sender := start(t, b, 1, nil)
	receiver := start(t, b, 2, k.into)
	for _, p := range []pieces{{0, 1}, {1, 1}, {9, 1 << 20}, {500, 1000}, {1, maxChunkBytes}} {
		sent := route{1, 2}.snapshot(5)
		if err := sender.SendSnapshot(t.Context(), 2, sent, p.chunks()); err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		select {
		case got := <-k.results:
			if got.from != 1 || !bytes.Equal(got.data, p.whole()) {
				t.Errorf("%+v: %d bytes came from node %d", p, len(got.data), got.from)
			}
			if !bytes.Equal(wirepb.AppendGroupMessage(nil, got.message), wirepb.AppendGroupMessage(nil, sent)) {
				t.Errorf("%+v: sent %v, came %v", p, sent, got.message)
			}
		default:
			t.Fatal("SendSnapshot returned before the receiver had taken it")
		}
	}
	out, in := sender.SnapshotStats(), receiver.SnapshotStats()
	if out.Sent != 5 || in.Taken != 5 || out.SentBytes != in.ReceivedBytes || out.SentBytes != 1+9<<20+500_000+maxChunkBytes {
		t.Errorf("sent %+v, taken %+v", out, in)
	}
	if len(receiver.received) != 0 {
		t.Errorf("messages were delivered beside the snapshot: %v", receiver.received)
	}
}

func TestWhatIsNoSnapshotToThePeerIsNotSent(t *testing.T) {
	b := &book{}
	sender := start(t, b, 1, nil)
	for name, m := range map[string]wirepb.GroupMessage{
		"an append":              route{1, 2}.message(raftpb.MsgApp, 1, 10),
		"for another node":       route{1, 3}.snapshot(1),
		"from another node":      route{3, 2}.snapshot(1),
		"a snapshot of no index": route{1, 2}.message(raftpb.MsgSnap, 1, 0),
	} {
		if err := sender.SendSnapshot(t.Context(), 2, m, pieces{1, 1}.chunks()); !errors.Is(err, pinetree.ErrBadBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := sender.SendSnapshot(t.Context(), 2, route{1, 2}.snapshot(1), pieces{1, 1}.chunks()); !errors.Is(err, errNoAddress) {
		t.Errorf("to a node without an address: %v", err)
	}
	receiver := start(t, b, 2, newTaker().into)
	if err := sender.SendSnapshot(t.Context(), 2, route{1, 2}.snapshot(1), pieces{1, maxChunkBytes + 1}.chunks()); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("a chunk that is too large: %v", err)
	}
	eventually(t, "the place is free", func() bool { return receiver.SnapshotStats().Taking == 0 })
	if s := receiver.SnapshotStats(); s.Taken != 0 {
		t.Errorf("the receiver took a snapshot that was given up: %+v", s)
	}
}

func TestOneSnapshotAtATime(t *testing.T) {
	b, k := &book{}, newTaker()
	release := make(chan struct{})
	begun := make(chan struct{}, 10)
	k.step = func(ctx context.Context, chunks int) error {
		begun <- struct{}{}
		if chunks == 0 {
			<-release
		}
		return nil
	}
	nodes := map[pinetree.NodeID]*node{}
	for id := pinetree.NodeID(1); id <= 5; id++ {
		nodes[id] = start(t, b, id, k.into)
	}
	p := pieces{2, 1000}
	sending := func(from, to pinetree.NodeID, group pinetree.GroupID) <-chan error {
		done := make(chan error, 1)
		go func() { done <- nodes[from].SendSnapshot(t.Context(), to, route{from, to}.snapshot(group), p.chunks()) }()
		return done
	}
	first := sending(1, 2, 7)
	<-begun
	refused := func(what string, err error, says string) {
		t.Helper()
		if !errors.Is(err, pinetree.ErrQueueFull) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: want a refusal saying %q, got %v", what, says, err)
		}
	}
	refused("another sender", <-sending(3, 2, 8), "now that of group 7 from node 1")
	refused("the same sender", <-sending(1, 2, 8), "group 8 waits with its snapshot to node 2 until that of group 7 is done")
	second := sending(1, 3, 8)
	<-begun
	refused("one more than a node sends at once", <-sending(1, 4, 9), "until one of 2 others is done")
	close(release)
	for _, done := range []<-chan error{first, second} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := <-sending(3, 2, 8); err != nil {
		t.Errorf("after the first had ended: %v", err)
	}
	if s := nodes[2].SnapshotStats(); s.Taken != 2 || s.Refused != 1 || s.TakeFailed != 0 || s.Taking != 0 {
		t.Errorf("node 2: %+v", s)
	}
	if s := nodes[1].SnapshotStats(); s.Sent != 2 || s.Refused != 2 || s.SendFailed != 0 || s.Sending != 0 {
		t.Errorf("node 1: %+v", s)
	}
}
