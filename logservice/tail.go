package logservice

import (
	"bytes"
	"context"
	"errors"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// maxTailBytes is about how much of the log one answer of Tail carries, and how
// much of it is in memory while a slow client takes it.
const maxTailBytes = 1 << 20

// Tail implements wirepb.ReadsServer. The log is read in slices, and no
// iterator of the engine is open while one is sent. Without follow it ends at
// the LSN that was applied when it began; with follow it goes on until the
// client leaves or the replica stops.
func (s *readService) Tail(q *wirepb.TailRequest, stream wirepb.Reads_TailServer) error {
	ctx, id := stream.Context(), pinetree.VolumeID(q.Volume)
	var from, end pinetree.LSN
	_, err := s.read(ctx, id, q.Options, func(r engine.Reader) (pinetree.LSN, error) {
		at := r.Position()
		from, end = pinetree.LSN(q.From), at.LSN
		switch {
		case from == 0:
			from = at.Base
		case from < at.Truncated:
			return 0, &pinetree.TruncatedError{Volume: id, Asked: from, First: at.Truncated}
		}
		return at.LSN, nil
	})
	if err != nil {
		return err
	}
	g, err := s.node.host.Volume(id)
	if err != nil {
		return err
	}
	t := tail{group: g, volume: id, stream: stream}
	for {
		if from, err = t.send(ctx, span{from, end}); err != nil {
			return err
		}
		if !q.Follow {
			return nil
		}
		if end, err = g.Follow(ctx, id, from); err != nil {
			return err
		}
	}
}

// tail is one client that reads a volume's log.
type tail struct {
	group  *host.Group
	volume pinetree.VolumeID
	stream wirepb.Reads_TailServer
}

// span is the log above from, up to end.
type span struct{ from, end pinetree.LSN }

// send sends a span in slices and returns where it stopped, which may be above
// the span's end by the rest of the last batch.
func (t *tail) send(ctx context.Context, s span) (pinetree.LSN, error) {
	for s.from < s.end {
		part, err := t.slice(ctx, s)
		if err != nil {
			return s.from, err
		}
		if part.end <= s.from {
			return s.from, &pinetree.CorruptError{
				Where: "log of volume", What: "nothing follows on " + s.from.String() + ", although it is replayed up to " + s.end.String(),
			}
		}
		s.from = part.end
		if err := t.stream.Send(&wirepb.TailResponse{Batches: part.batches, AppliedLsn: uint64(part.applied)}); err != nil {
			return s.from, err
		}
	}
	return s.from, nil
}

// slice is a part of the log in memory.
type slice struct {
	batches [][]byte
	end     pinetree.LSN
	applied pinetree.LSN
}

var errSliceFull = errors.New("the slice is full")

// slice reads the beginning of a span, at least a batch if there is one.
func (t *tail) slice(ctx context.Context, s span) (slice, error) {
	var part slice
	_, err := t.group.Read(ctx, host.ReadRequest{Volume: t.volume, Level: pinetree.ReadStale}, func(r engine.Reader) error {
		size := 0
		part = slice{applied: r.Position().LSN}
		err := r.Log(s.from, func(b pinetree.Batch) error {
			if len(part.batches) > 0 && (size+b.Size() > maxTailBytes || b.Prev >= s.end) {
				return errSliceFull
			}
			size += b.Size()
			part.batches, part.end = append(part.batches, bytes.Clone(b.Encoded)), b.LSN
			return nil
		})
		if errors.Is(err, errSliceFull) {
			return nil
		}
		return err
	})
	return part, err
}
