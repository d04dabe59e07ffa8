package transport

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Stream implements wirepb.RaftTransportServer: it delivers one lane's frames
// until the peer goes away, a frame is refused, or the transport is closed.
func (t *Transport) Stream(stream wirepb.RaftTransport_StreamServer) error {
	ended := make(chan error, 1)
	if !t.begin() {
		return wirepb.Error(t.errStopped())
	}
	// Only the return of this method interrupts a Recv, so that has a
	// goroutine of its own. Close waits for it.
	go func() {
		defer t.running.Done()
		ended <- t.receive(stream)
	}()
	select {
	case err := <-ended:
		return wirepb.Error(err)
	case <-t.ctx.Done():
		return wirepb.Error(t.errStopped())
	}
}

func (t *Transport) receive(stream wirepb.RaftTransport_StreamServer) error {
	first, err := stream.Recv()
	if err != nil {
		return endOfStream(err)
	}
	peer, err := t.sender(first)
	if err != nil {
		return err
	}
	for frame := first; ; {
		if err := t.deliver(peer, frame.Messages); err != nil {
			return err
		}
		if frame, err = stream.Recv(); err != nil {
			return endOfStream(err)
		}
	}
}

// endOfStream makes the peer's ordinary goodbye no error.
func endOfStream(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(wirepb.FromError(err), context.Canceled) {
		return nil
	}
	return err
}

// Deliver implements wirepb.RaftTransportServer: it delivers one frame.
func (t *Transport) Deliver(_ context.Context, frame *wirepb.RaftFrame) (*wirepb.RaftReply, error) {
	if !t.begin() {
		return nil, wirepb.Error(t.errStopped())
	}
	defer t.running.Done()
	peer, err := t.sender(frame)
	if err == nil {
		err = t.deliver(peer, frame.Messages)
	}
	return &wirepb.RaftReply{}, wirepb.Error(err)
}

// sender tells whose frame it is, and refuses one that is not for this node: an
// address may have belonged to another node, or to another cluster, before.
func (t *Transport) sender(frame *wirepb.RaftFrame) (pinetree.NodeID, error) {
	peer := pinetree.NodeID(frame.From)
	switch {
	case frame.Cluster != t.cfg.Cluster:
		return 0, fmt.Errorf("%w: raft frame of cluster %q, this node is of cluster %q; is the address of node %d out of date?", pinetree.ErrBadBatch, frame.Cluster, t.cfg.Cluster, frame.To)
	case pinetree.NodeID(frame.To) != t.cfg.Node:
		return 0, fmt.Errorf("%w: raft frame for node %d, this is node %d; the sender's address of node %d is out of date", pinetree.ErrBadBatch, frame.To, t.cfg.Node, frame.To)
	case peer == 0 || peer == t.cfg.Node:
		return 0, fmt.Errorf("%w: raft frame from node %d, this is node %d; two nodes run under one id?", pinetree.ErrBadBatch, peer, t.cfg.Node)
	}
	return peer, nil
}

// deliver decodes a frame and hands it over, all or nothing. A message that is
// not from the peer to this node could make a replica take a stranger's word. The
// checksums of batches are checked here, while the processor's caches still have
// what was copied a moment ago: what was damaged on the way is never acknowledged.
func (t *Transport) deliver(peer pinetree.NodeID, encoded []byte) error {
	var messages []wirepb.GroupMessage
	err := wirepb.DecodeGroupMessages(encoded, func(m wirepb.GroupMessage) error {
		from, to := pinetree.NodeID(m.Message.GetFrom()), pinetree.NodeID(m.Message.GetTo())
		if from != peer || to != t.cfg.Node {
			return fmt.Errorf("%w: group %d: %s from %d to %d in a frame from node %d to node %d", pinetree.ErrBadBatch, m.Group, m.Message.GetType(), from, to, peer, t.cfg.Node)
		}
		messages = append(messages, m)
		if m.Message.GetType() != raftpb.MsgApp {
			return nil // the entries of MsgReadIndex and its answer are marks, no commands
		}
		return storepb.CheckEntries(m.Message.Entries)
	})
	if err != nil {
		return fmt.Errorf("raft frame from node %d refused: %w", peer, err)
	}
	if len(messages) > 0 {
		t.cfg.Deliver(messages)
	}
	return nil
}

// begin counts one more receiving goroutine, unless the transport is closed.
func (t *Transport) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.running.Add(1)
	return true
}

func (t *Transport) errStopped() error {
	return fmt.Errorf("%w: node %d is stopping", pinetree.ErrStopped, t.cfg.Node)
}
