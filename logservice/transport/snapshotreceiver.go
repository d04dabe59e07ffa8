package transport

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Snapshot implements wirepb.RaftTransportServer: it gives one snapshot to
// Config.TakeSnapshot and answers when that has returned. It returns early when
// the snapshot makes no progress, the sender goes away or the transport is
// closed; the place is then taken until TakeSnapshot has returned, too.
func (t *Transport) Snapshot(stream grpc.ClientStreamingServer[wirepb.SnapshotFrame, wirepb.SnapshotReply]) error {
	if !t.begin() {
		return wirepb.Error(t.errStopped())
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	r := &snapshotReceiver{transport: t, stream: stream, ctx: ctx}
	r.alarm = watch(t.snapshots.limits.Stall, fmt.Sprintf("the snapshot to node %d", t.cfg.Node), cancel)
	ended := make(chan error, 1)
	// Only the return of this method interrupts a Recv, so that has a goroutine
	// of its own. Close waits for it.
	go func() {
		defer t.running.Done()
		defer r.alarm.stop()
		ended <- r.run()
	}()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-t.ctx.Done():
		err = t.errStopped()
		cancel(err)
	}
	if err != nil {
		return wirepb.Error(err)
	}
	return stream.SendAndClose(&wirepb.SnapshotReply{})
}

// snapshotReceiver is one snapshot on its way in. It belongs to the goroutine
// that runs it.
type snapshotReceiver struct {
	transport *Transport
	stream    grpc.ClientStreamingServer[wirepb.SnapshotFrame, wirepb.SnapshotReply]
	ctx       context.Context
	alarm     *watchdog

	what   string
	chunks uint64
	bytes  uint64
	crc    uint32 // of the head's message and all chunks so far
	end    error  // what next returns from here on; io.EOF when all was received
}

func (r *snapshotReceiver) run() error {
	t := r.transport
	m, err := r.head()
	if err != nil {
		return err
	}
	from := pinetree.NodeID(m.Message.GetFrom())
	r.what = fmt.Sprintf("group %d from node %d", m.Group, from)
	if t.cfg.TakeSnapshot == nil {
		return fmt.Errorf("%w: node %d takes no snapshots", pinetree.ErrStopped, t.cfg.Node)
	}
	if err := t.snapshots.beginTaking(r.what); err != nil {
		return err
	}
	log := t.cfg.Logger.With("group", m.Group, "from", from, "index", m.Message.GetSnapshot().GetMetadata().GetIndex())
	log.Info("takes a snapshot")
	began := time.Now()
	err = t.cfg.TakeSnapshot(r.ctx, from, m, r.next)
	switch {
	case r.end != nil && !errors.Is(r.end, io.EOF):
		err = r.end // whatever the taker made of it
	case err == nil && r.end == nil:
		err = fmt.Errorf("the snapshot of %s was taken after %d chunks, and not to its end", r.what, r.chunks)
	}
	t.snapshots.endTaking(err)
	if err != nil {
		log.Warn("a snapshot was not taken", "bytes", r.bytes, "after", time.Since(began).Round(time.Millisecond), "err", err)
		return err
	}
	log.Info("has taken a snapshot", "bytes", r.bytes, "in", time.Since(began).Round(time.Millisecond))
	return nil
}

// head receives the first frame and checks that it is meant for this node.
func (r *snapshotReceiver) head() (wirepb.GroupMessage, error) {
	var m wirepb.GroupMessage
	frame, err := r.stream.Recv()
	if err != nil {
		return m, err
	}
	head := frame.GetHead()
	if head == nil {
		return m, fmt.Errorf("%w: a snapshot begins with its head", pinetree.ErrBadBatch)
	}
	peer, err := r.transport.sender(&wirepb.RaftFrame{Cluster: head.GetCluster(), From: head.GetFrom(), To: head.GetTo()})
	if err != nil {
		return m, err
	}
	count := 0
	err = wirepb.DecodeGroupMessages(head.GetMessage(), func(decoded wirepb.GroupMessage) error {
		m = decoded
		count++
		return nil
	})
	if err == nil && count != 1 {
		err = fmt.Errorf("%w: the head of a snapshot holds %d raft messages", pinetree.ErrBadBatch, count)
	}
	if err == nil {
		err = checkSnapshot(m, pair{peer, r.transport.cfg.Node})
	}
	if err != nil {
		return m, fmt.Errorf("snapshot from node %d refused: %w", peer, err)
	}
	r.crc = crc32.Checksum(head.GetMessage(), storepb.Castagnoli)
	return m, nil
}

// next is the next chunk, checked, or io.EOF after the last one.
func (r *snapshotReceiver) next() ([]byte, error) {
	if r.end != nil {
		return nil, r.end
	}
	r.alarm.step()
	frame, err := r.stream.Recv()
	r.alarm.step()
	var data []byte
	if err == nil {
		data, err = r.take(frame)
	} else {
		err = r.broken(err)
	}
	r.end = err
	return data, err
}

// broken is why the stream ended before the snapshot did.
func (r *snapshotReceiver) broken(err error) error {
	if own := context.Cause(r.ctx); own != nil {
		err = own
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the snapshot of %s broke off after %d chunks: %w", r.what, r.chunks, err)
}

func (r *snapshotReceiver) take(frame *wirepb.SnapshotFrame) ([]byte, error) {
	switch part := frame.GetPart().(type) {
	case *wirepb.SnapshotFrame_Chunk:
		c := part.Chunk
		switch {
		case c.GetNumber() != r.chunks:
			return nil, r.corrupt("chunk %d came where %d was to", c.GetNumber(), r.chunks)
		case crc32.Checksum(c.GetData(), storepb.Castagnoli) != c.GetCrc32C():
			return nil, r.corrupt("the CRC32C of chunk %d is wrong", r.chunks)
		}
		r.crc = crc32.Update(r.crc, storepb.Castagnoli, c.GetData())
		r.chunks++
		r.bytes += uint64(len(c.GetData()))
		r.transport.snapshots.update(func(s *SnapshotStats) { s.ReceivedBytes += uint64(len(c.GetData())) })
		return c.GetData(), nil
	case *wirepb.SnapshotFrame_End:
		switch {
		case part.End.GetChunks() != r.chunks:
			return nil, r.corrupt("%d chunks were sent and %d came", part.End.GetChunks(), r.chunks)
		case part.End.GetCrc32C() != r.crc:
			return nil, r.corrupt("the CRC32C of the whole is wrong")
		}
		return nil, io.EOF
	}
	return nil, r.corrupt("frame %d is neither a chunk nor the end", r.chunks)
}

func (r *snapshotReceiver) corrupt(format string, args ...any) error {
	return &pinetree.CorruptError{Where: "snapshot of " + r.what, What: fmt.Sprintf(format, args...) + "; it is sent again"}
}
