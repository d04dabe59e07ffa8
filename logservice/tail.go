package logservice

import (
	"context"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/fanout"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Tail implements wirepb.ReadsServer. Without follow it ends at the LSN that was
// applied when it began; with follow it goes on until the client leaves or the
// replica stops.
func (s *readService) Tail(q *wirepb.TailRequest, stream wirepb.Reads_TailServer) error {
	if q.Committed && !q.Follow {
		return badRequest("a tail of what is committed follows the log; without follow it ends at what is applied, so set follow or leave committed out")
	}
	ctx, id := stream.Context(), pinetree.VolumeID(q.Volume)
	g, err := s.node.host.Volume(id)
	if err != nil {
		return err
	}
	// Before the position is read, so that nothing after it is missed.
	t, err := g.Tail(id)
	if err != nil {
		return err
	}
	defer t.Close()
	want := fanout.Query{From: pinetree.LSN(q.From), Follow: q.Follow, Committed: q.Committed}
	_, err = s.read(ctx, id, 0, q.Options, func(r engine.Reader) (pinetree.LSN, error) {
		at := r.Position()
		if want.Applied = at.LSN; q.From == 0 {
			want.From = at.Base
		}
		if want.From < at.Truncated {
			return 0, &pinetree.TruncatedError{Volume: id, Asked: want.From, First: at.Truncated}
		}
		return at.LSN, nil
	})
	if err != nil {
		return err
	}
	return t.Run(ctx, want, readLog(g, id), func(m *wirepb.OutgoingTail) error { return stream.SendMsg(m) })
}

// readLog reads a volume's log in the engine. No iterator of the engine is open
// while what was read is sent.
func readLog(g *host.Group, id pinetree.VolumeID) fanout.Log {
	return func(ctx context.Context, from pinetree.LSN, fn func(pinetree.Batch) error) (at pinetree.VolumePosition, err error) {
		_, err = g.Read(ctx, host.ReadRequest{Volume: id, Level: pinetree.ReadStale}, func(r engine.Reader) error {
			err := r.Log(from, fn)
			at = r.Position()
			return err
		})
		return at, err
	}
}
