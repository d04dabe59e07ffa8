package transport

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// SendSnapshot sends a MsgSnap and the state that belongs to it, and returns nil
// only when the receiver said that it has all of it and gave it to raft. chunks
// is called once, in this goroutine, and makes the pieces in order: it calls fn
// with each, which is fn's only during the call, and stops at fn's error.
//
// The snapshot has a connection of its own and a bounded rate, so that it delays
// no message. It is given up when ctx ends, when the transport is closed, when
// either end fails, and when it makes no progress for SnapshotLimits.Stall; but
// the call waits for chunks to return. When this node sends enough already, or
// the receiver takes another one, the error is pinetree.ErrQueueFull.
func (t *Transport) SendSnapshot(ctx context.Context, to pinetree.NodeID, m wirepb.GroupMessage, chunks func(fn func([]byte) error) error) error {
	if !t.begin() {
		return t.errStopped()
	}
	defer t.running.Done()
	if err := checkSnapshot(m, pair{t.cfg.Node, to}); err != nil {
		return err
	}
	if err := t.snapshots.beginSending(to, m.Group); err != nil {
		return err
	}
	log := t.cfg.Logger.With("group", m.Group, "to", to, "index", m.Message.GetSnapshot().GetMetadata().GetIndex())
	log.Info("sends a snapshot")
	began := time.Now()
	s := &snapshotSender{transport: t, what: fmt.Sprintf("the snapshot of group %d to node %d", m.Group, to)}
	err := s.run(ctx, to, m, chunks)
	t.snapshots.endSending(to, err)
	if err != nil {
		log.Warn("a snapshot was not sent", "bytes", s.bytes, "after", time.Since(began).Round(time.Millisecond), "err", err)
		return err
	}
	log.Info("has sent a snapshot", "bytes", s.bytes, "in", time.Since(began).Round(time.Millisecond))
	return nil
}

// pair is from whom to whom.
type pair struct{ from, to pinetree.NodeID }

// checkSnapshot refuses what is not a snapshot from one node to another.
func checkSnapshot(m wirepb.GroupMessage, p pair) error {
	from, to := pinetree.NodeID(m.Message.GetFrom()), pinetree.NodeID(m.Message.GetTo())
	if m.Message.GetType() != raftpb.MsgSnap || m.Message.GetSnapshot().GetMetadata().GetIndex() == 0 {
		return fmt.Errorf("%w: group %d: a %s at index %d is sent as a snapshot", pinetree.ErrBadBatch, m.Group, m.Message.GetType(), m.Message.GetSnapshot().GetMetadata().GetIndex())
	}
	if from != p.from || to != p.to {
		return fmt.Errorf("%w: group %d: a snapshot from %d to %d in a stream from node %d to node %d", pinetree.ErrBadBatch, m.Group, from, to, p.from, p.to)
	}
	return nil
}

// snapshotSender is one snapshot on its way out. It belongs to the goroutine of
// SendSnapshot.
type snapshotSender struct {
	transport *Transport
	what      string
	ctx       context.Context
	alarm     *watchdog
	stream    grpc.ClientStreamingClient[wirepb.SnapshotFrame, wirepb.SnapshotReply]

	chunks uint64
	bytes  uint64
	crc    uint32 // of the head's message and all chunks so far
	failed error  // why a chunk was not sent
}

func (s *snapshotSender) run(ctx context.Context, to pinetree.NodeID, m wirepb.GroupMessage, chunks func(fn func([]byte) error) error) error {
	t := s.transport
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.ctx, func() { cancel(t.errStopped()) })()
	s.alarm = watch(t.snapshots.limits.Stall, s.what, cancel)
	defer s.alarm.stop()
	s.ctx = ctx

	conn, _, err := t.connect(to)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the stream has ended or is given up
	if s.stream, err = wirepb.NewRaftTransportClient(conn).Snapshot(ctx, wirepb.StreamOptions()...); err != nil {
		return s.reason(err)
	}
	head := &wirepb.SnapshotHead{
		Cluster: t.cfg.Cluster, From: uint64(t.cfg.Node), To: uint64(to), Message: wirepb.AppendGroupMessage(nil, m),
	}
	s.crc = crc32.Checksum(head.Message, storepb.Castagnoli)
	if err := s.send(&wirepb.SnapshotFrame{Part: &wirepb.SnapshotFrame_Head{Head: head}}); err != nil {
		return err
	}
	err = chunks(func(data []byte) error {
		s.failed = s.sendChunk(data)
		return s.failed
	})
	if s.failed != nil {
		return s.failed // whatever chunks made of it
	}
	if err != nil {
		return s.reason(err)
	}
	end := &wirepb.SnapshotEnd{Chunks: s.chunks, Crc32C: s.crc}
	if err := s.send(&wirepb.SnapshotFrame{Part: &wirepb.SnapshotFrame_End{End: end}}); err != nil {
		return err
	}
	if _, err := s.stream.CloseAndRecv(); err != nil {
		return s.reason(err)
	}
	return nil
}

// sendChunk sends one piece, when the rate has room for it and gRPC's window,
// which the receiver opens as it goes on, does.
func (s *snapshotSender) sendChunk(data []byte) error {
	if len(data) > maxChunkBytes {
		return fmt.Errorf("%w: %s: a chunk of %d bytes; at most %d", pinetree.ErrBadBatch, s.what, len(data), maxChunkBytes)
	}
	// Waiting for the rate is no want of progress.
	s.alarm.stop()
	err := s.transport.snapshots.pace(s.ctx, len(data))
	s.alarm.step()
	if err != nil {
		return s.reason(err)
	}
	chunk := &wirepb.SnapshotChunk{Number: s.chunks, Crc32C: crc32.Checksum(data, storepb.Castagnoli), Data: data}
	// The data is encoded, and free again, when send returns.
	if err := s.send(&wirepb.SnapshotFrame{Part: &wirepb.SnapshotFrame_Chunk{Chunk: chunk}}); err != nil {
		return err
	}
	s.crc = crc32.Update(s.crc, storepb.Castagnoli, data)
	s.chunks++
	s.bytes += uint64(len(data))
	s.transport.snapshots.update(func(stats *SnapshotStats) { stats.SentBytes += uint64(len(data)) })
	return nil
}

func (s *snapshotSender) send(frame *wirepb.SnapshotFrame) error {
	if err := s.stream.Send(frame); err != nil {
		return s.reason(err)
	}
	s.alarm.step()
	return nil
}

// reason prefers why this side gave up, then what the receiver said.
func (s *snapshotSender) reason(err error) error {
	if own := context.Cause(s.ctx); own != nil {
		return fmt.Errorf("%s: %w", s.what, own)
	}
	if errors.Is(err, io.EOF) && s.stream != nil {
		if err = s.stream.RecvMsg(&wirepb.SnapshotReply{}); err == nil {
			return fmt.Errorf("%s: the receiver answered before it had everything", s.what)
		}
	}
	return fmt.Errorf("%s: %w", s.what, wirepb.FromError(err))
}
