package logservice

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/time/rate"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/transport"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Export implements wirepb.NodeServer. It takes of disk and network what the
// snapshots that the node sends may.
func (s *adminService) Export(q *wirepb.ExportRequest, stream wirepb.Node_ExportServer) (err error) {
	id := pinetree.GroupID(q.GetGroup())
	g, err := s.node.host.Group(id)
	if err != nil {
		return err
	}
	if err := g.View().Stopped; err != nil {
		return fmt.Errorf("the replica of group %d on node %d: %w", id, s.node.identity.Node, err)
	}
	if !s.node.exporting.TryLock() {
		return fmt.Errorf("%w: node %d exports another replica; wait and ask again", pinetree.ErrQueueFull, s.node.identity.Node)
	}
	defer s.node.exporting.Unlock()
	state, err := s.node.cfg.Engines.Snapshot(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	position, err := storepb.EncodePosition(state.Position())
	if err != nil {
		return err
	}
	if err := stream.Send(&wirepb.ExportResponse{Position: position}); err != nil {
		return err
	}
	bytesPerSecond := cmp.Or(s.node.cfg.Snapshots.BytesPerSecond, transport.DefaultSnapshots.BytesPerSecond)
	pace := rate.NewLimiter(rate.Limit(bytesPerSecond), engine.MaxChunkBytes)
	return state.Chunks(func(chunk []byte) error {
		if err := pace.WaitN(stream.Context(), len(chunk)); err != nil {
			return err
		}
		return stream.Send(&wirepb.ExportResponse{Chunk: chunk})
	})
}
