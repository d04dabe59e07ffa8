package transport

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// frames are those of a good snapshot of three chunks.
func frames() []*wirepb.SnapshotFrame {
	message := wirepb.AppendGroupMessage(nil, route{1, 2}.snapshot(4))
	all := []*wirepb.SnapshotFrame{{Part: &wirepb.SnapshotFrame_Head{Head: &wirepb.SnapshotHead{Cluster: "test", From: 1, To: 2, Message: message}}}}
	crc := crc32.Checksum(message, storepb.Castagnoli)
	for i := range uint64(3) {
		data := []byte{byte(i), 1, 2, 3}
		crc = crc32.Update(crc, storepb.Castagnoli, data)
		all = append(all, &wirepb.SnapshotFrame{Part: &wirepb.SnapshotFrame_Chunk{Chunk: &wirepb.SnapshotChunk{
			Number: i, Crc32C: crc32.Checksum(data, storepb.Castagnoli), Data: data,
		}}})
	}
	return append(all, &wirepb.SnapshotFrame{Part: &wirepb.SnapshotFrame_End{End: &wirepb.SnapshotEnd{Chunks: 3, Crc32C: crc}}})
}

// raw sends frames and returns what the receiver said of them.
func raw(t *testing.T, client wirepb.RaftTransportClient, all []*wirepb.SnapshotFrame) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := client.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, frame := range all {
		if err := stream.Send(frame); err != nil {
			break // CloseAndRecv tells why
		}
	}
	_, err = stream.CloseAndRecv()
	return wirepb.FromError(err)
}

func rawClient(t *testing.T, receiver *node) wirepb.RaftTransportClient {
	t.Helper()
	conn, err := grpc.NewClient(receiver.addr, DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return wirepb.NewRaftTransportClient(conn)
}

func TestADamagedSnapshotIsNeverTakenForWhole(t *testing.T) {
	b, k := &book{}, newTaker()
	receiver := start(t, b, 2, k.into)
	client := rawClient(t, receiver)
	if err := raw(t, client, frames()); err != nil {
		t.Fatalf("a good snapshot: %v", err)
	}
	if got := k.result(t); got.err != nil || len(got.data) != 12 {
		t.Fatalf("a good snapshot: %+v", got)
	}
	for name, test := range map[string]struct {
		damage func([]*wirepb.SnapshotFrame) []*wirepb.SnapshotFrame
		is     error
		says   string
	}{
		"a flipped bit": {func(f []*wirepb.SnapshotFrame) []*wirepb.SnapshotFrame {
			f[2].GetChunk().Data[1] ^= 4
			return f
		}, pinetree.ErrCorrupt, "CRC32C of chunk 1"},
		"a flipped bit with a checksum that fits": {func(f []*wirepb.SnapshotFrame) []*wirepb.SnapshotFrame {
			c := f[2].GetChunk()
			c.Data[1] ^= 4
			c.Crc32C = crc32.Checksum(c.Data, storepb.Castagnoli)
			return f
		}, pinetree.ErrCorrupt, "CRC32C of the whole"},
		"another message": {func(f []*wirepb.SnapshotFrame) []*wirepb.SnapshotFrame {
			f[0].GetHead().Message = wirepb.AppendGroupMessage(nil, route{1, 2}.snapshot(9))
			return f
		}, pinetree.ErrCorrupt, "CRC32C of the whole"},
		"a missing chunk": {func(f []*wirepb.SnapshotFrame) []*wirepb.SnapshotFrame {
			return slices.Delete(f, 2, 3)
		}, pinetree.ErrCorrupt, "chunk 2 came where 1 was to"},
		"a missing last chunk": {func(f []*wirepb.SnapshotFrame) []*wirepb.SnapshotFrame {
			return slices.Delete(f, 3, 4)
		}, pinetree.ErrCorrupt, "3 chunks were sent and 2 came"},
		"chunks out of order": {func(f []*wirepb.SnapshotFrame) []*wirepb.SnapshotFrame {
			f[1], f[2] = f[2], f[1]
			return f
		}, pinetree.ErrCorrupt, "chunk 1 came where 0 was to"},
		"a chunk twice": {func(f []*wirepb.SnapshotFrame) []*wirepb.SnapshotFrame {
			return slices.Insert(f, 2, f[1])
		}, pinetree.ErrCorrupt, "chunk 0 came where 1 was to"},
		"no end": {func(f []*wirepb.SnapshotFrame) []*wirepb.SnapshotFrame {
			return f[:4]
		}, nil, "broke off after 3 chunks"},
		"a second head": {func(f []*wirepb.SnapshotFrame) []*wirepb.SnapshotFrame {
			return slices.Insert(f, 1, f[0])
		}, pinetree.ErrCorrupt, "neither a chunk nor the end"},
		"an empty frame": {func(f []*wirepb.SnapshotFrame) []*wirepb.SnapshotFrame {
			return slices.Insert(f, 4, &wirepb.SnapshotFrame{})
		}, pinetree.ErrCorrupt, "neither a chunk nor the end"},
	} {
		t.Run(name, func(t *testing.T) {
			err := raw(t, client, test.damage(frames()))
			if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("want %v saying %q, got %v", test.is, test.says, err)
			}
			if got := k.result(t); got.err == nil || errors.Is(got.err, io.EOF) || !strings.Contains(got.err.Error(), test.says) {
				t.Errorf("the taker was told %v", got.err)
			}
		})
	}
	if s := receiver.SnapshotStats(); s.Taken != 1 || s.TakeFailed != 10 || s.Taking != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAForeignSnapshotIsRefused(t *testing.T) {
	b, k := &book{}, newTaker()
	receiver := start(t, b, 2, k.into)
	client := rawClient(t, receiver)
	encoded := func(m wirepb.GroupMessage) func(*wirepb.SnapshotHead) {
		return func(h *wirepb.SnapshotHead) { h.Message = wirepb.AppendGroupMessage(nil, m) }
	}
	for name, test := range map[string]struct {
		change func(*wirepb.SnapshotHead)
		is     error
		says   string
	}{
		"another cluster":    {func(h *wirepb.SnapshotHead) { h.Cluster = "other" }, pinetree.ErrBadBatch, `cluster "other"`},
		"another node":       {func(h *wirepb.SnapshotHead) { h.To = 3 }, pinetree.ErrBadBatch, "for node 3, this is node 2"},
		"our own id":         {func(h *wirepb.SnapshotHead) { h.From = 2 }, pinetree.ErrBadBatch, "two nodes run under one id"},
		"a forged sender":    {encoded(route{3, 2}.snapshot(1)), pinetree.ErrBadBatch, "from 3 to 2"},
		"a forged receiver":  {encoded(route{1, 3}.snapshot(1)), pinetree.ErrBadBatch, "from 1 to 3"},
		"no snapshot":        {encoded(route{1, 2}.message(raftpb.MsgApp, 1, 10)), pinetree.ErrBadBatch, "MsgApp"},
		"no message":         {func(h *wirepb.SnapshotHead) { h.Message = nil }, pinetree.ErrBadBatch, "0 raft messages"},
		"two messages":       {func(h *wirepb.SnapshotHead) { h.Message = slices.Concat(h.Message, h.Message) }, pinetree.ErrBadBatch, "2 raft messages"},
		"a damaged message":  {func(h *wirepb.SnapshotHead) { h.Message = h.Message[:len(h.Message)-1] }, pinetree.ErrCorrupt, "from node 1 refused"},
		"an unordered frame": {nil, pinetree.ErrBadBatch, "begins with its head"},
	} {
		t.Run(name, func(t *testing.T) {
			all := frames()
			if test.change != nil {
				test.change(all[0].GetHead())
			} else {
				all = all[1:]
			}
			if err := raw(t, client, all); !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("want %v saying %q, got %v", test.is, test.says, err)
			}
		})
	}
	if len(k.results) != 0 {
		t.Errorf("taken: %+v", k.result(t))
	}
	bare := start(t, b, 3, nil)
	if err := start(t, b, 1, nil).SendSnapshot(t.Context(), 3, route{1, 3}.snapshot(1), pieces{1, 1}.chunks()); !errors.Is(err, pinetree.ErrStopped) {
		t.Errorf("a node that takes none: %v, %+v", err, bare.SnapshotStats())
	}
}

func TestAFailureOfEitherSideEndsTheSnapshotOnBoth(t *testing.T) {
	b, k := &book{}, newTaker()
	sender := start(t, b, 1, nil)
	receiver := start(t, b, 2, k.into)
	errBroken := errors.New("a page cannot be read")
	p := pieces{30, 1 << 20}

	k.step = func(_ context.Context, chunks int) error {
		if chunks == 2 {
			return pinetree.ErrDiskFull
		}
		return nil
	}
	sent := 0
	err := sender.SendSnapshot(t.Context(), 2, route{1, 2}.snapshot(4), func(fn func([]byte) error) error {
		return p.chunks()(func(chunk []byte) error { sent++; return fn(chunk) })
	})
	if !errors.Is(err, pinetree.ErrDiskFull) {
		t.Errorf("the receiver's disk is full: %v", err)
	}
	if sent == p.count {
		t.Error("everything was sent to a receiver that had failed")
	}
	k.result(t)

	begun := make(chan struct{}, 2)
	k.step = func(context.Context, int) error { begun <- struct{}{}; return nil }
	err = sender.SendSnapshot(t.Context(), 2, route{1, 2}.snapshot(4), func(fn func([]byte) error) error {
		if err := fn([]byte("one")); err != nil {
			return err
		}
		<-begun
		return errBroken
	})
	if !errors.Is(err, errBroken) {
		t.Errorf("the sender's disk is broken: %v", err)
	}
	if got := k.result(t); got.err == nil || errors.Is(got.err, io.EOF) {
		t.Errorf("the sender's disk is broken: the taker was told %v", got.err)
	}

	lazy := func(_ context.Context, _ pinetree.NodeID, _ wirepb.GroupMessage, next func() ([]byte, error)) error {
		_, err := next()
		return err
	}
	start(t, b, 3, func(_ *node, cfg *Config) { cfg.TakeSnapshot = lazy })
	err = sender.SendSnapshot(t.Context(), 3, route{1, 3}.snapshot(4), pieces{2, 1}.chunks())
	if err == nil || !strings.Contains(err.Error(), "not to its end") {
		t.Errorf("a taker that stopped early without an error: %v", err)
	}
	if s := sender.SnapshotStats(); s.Sent != 0 || s.SendFailed != 3 || s.Sending != 0 {
		t.Errorf("%+v", s)
	}
	eventually(t, "the failures are counted", func() bool { return receiver.SnapshotStats().TakeFailed == 2 })
}

func TestAHangingReceiverIsGivenUpAndHoldsItsPlace(t *testing.T) {
	for name, hangAt := range map[string]int{"at the first chunk": 0, "in the middle": 3, "after the last chunk": 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, k := &book{}, newTaker()
			release, ended := make(chan struct{}), make(chan struct{}, 1)
			k.step = func(ctx context.Context, chunks int) error {
				if chunks == hangAt {
					<-ctx.Done()
					ended <- struct{}{}
					<-release // such as a disk that does not answer
				}
				return nil
			}
			sender := start(t, b, 1, stalling(time.Second))
			receiver := start(t, b, 2, both(k.into, stalling(time.Second)))
			began := time.Now()
			err := sender.SendSnapshot(t.Context(), 2, route{1, 2}.snapshot(4), pieces{10, 1 << 20}.chunks())
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 5*time.Second {
				t.Errorf("after %v: %v", took, err)
			}
			select {
			case <-ended:
			case <-time.After(patience):
				t.Error("the taker's context did not end")
			}
			err = sender.SendSnapshot(t.Context(), 2, route{1, 2}.snapshot(5), pieces{1, 1}.chunks())
			if !errors.Is(err, pinetree.ErrQueueFull) {
				t.Errorf("while the first still holds the disk: %v", err)
			}
			close(release)
			k.result(t)
			k.step = nil
			eventually(t, "the place is free", func() bool { return receiver.SnapshotStats().Taking == 0 })
			if err := sender.SendSnapshot(t.Context(), 2, route{1, 2}.snapshot(5), pieces{1, 1}.chunks()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}
