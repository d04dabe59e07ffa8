package logservice

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// computeService is the write side of the node's volumes.
type computeService struct {
	wirepb.UnimplementedComputeServer
	node *Node
}

// Open implements wirepb.ComputeServer.
func (s *computeService) Open(ctx context.Context, q *wirepb.OpenRequest) (*wirepb.OpenResponse, error) {
	id := pinetree.VolumeID(q.Volume)
	g, err := s.node.host.Volume(id)
	if err != nil {
		return nil, err
	}
	if pinetree.ComputeTerm(q.ComputeTerm) == adapter.EndTerm {
		return nil, badRequest("compute term %d of volume %d is no writer's; open a lower one, or the next one as zero", q.ComputeTerm, id)
	}
	opened, err := g.Open(ctx, id, adapter.Fence{Term: pinetree.ComputeTerm(q.ComputeTerm), Base: pinetree.LSN(q.Base)})
	if err != nil {
		return nil, err
	}
	return &wirepb.OpenResponse{
		ComputeTerm: uint64(opened.Term), DurableLsn: uint64(opened.Durable), Base: uint64(opened.Base),
		Format: uint32(opened.Format), Node: uint64(s.node.identity.Node),
	}, nil
}

// Resolve implements wirepb.ComputeServer.
func (s *computeService) Resolve(ctx context.Context, q *wirepb.ResolveRequest) (*wirepb.ResolveResponse, error) {
	id := pinetree.VolumeID(q.Volume)
	g, err := s.node.host.Volume(id)
	if err != nil {
		return nil, err
	}
	r, err := g.Resolve(ctx, id, adapter.Append{Term: pinetree.ComputeTerm(q.ComputeTerm), LSN: pinetree.LSN(q.Lsn)})
	if err != nil {
		return nil, err
	}
	answer := &wirepb.ResolveResponse{DurableLsn: uint64(r.Durable), ComputeTerm: uint64(r.Term)}
	switch r.Outcome {
	case adapter.Committed:
		answer.Outcome = wirepb.ResolveResponse_COMMITTED
	case adapter.NotCommitted:
		answer.Outcome = wirepb.ResolveResponse_NOT_COMMITTED
	case adapter.Rejected:
		answer.Outcome = wirepb.ResolveResponse_REJECTED
	}
	return answer, nil
}

// Ship implements wirepb.ComputeServer: one goroutine takes batches in, this
// one sends the newest watermarks out. After the client has sent its last
// batch the stream goes on until all of them are acknowledged.
func (s *computeService) Ship(stream wirepb.Compute_ShipServer) error {
	first, err := stream.Recv()
	if err != nil {
		return goodbye(err)
	}
	id, term := pinetree.VolumeID(first.Volume), pinetree.ComputeTerm(first.ComputeTerm)
	g, err := s.node.host.Volume(id)
	if err != nil {
		return err
	}
	in := intake{stream: stream, metrics: s.node.metrics, held: make(chan time.Duration, 1)}
	in.admit = func(bytes int) error {
		return s.node.quota.Ingest(stream.Context(), id, func() pinetree.VolumePosition { return replayed(g, id) }, bytes, in.hold)
	}
	if in.format, err = format(stream.Context(), g, id); err != nil {
		return err
	}
	if in.session, err = g.Ship(stream.Context(), id, term); err != nil {
		return err
	}
	defer in.session.Close()
	received := make(chan error, 1)
	if !s.node.begin() {
		return errStopping(s.node.identity.Node)
	}
	// Only the return of this method interrupts a Recv, so that has a goroutine
	// of its own. The node waits for it.
	go func() {
		defer s.node.running.Done()
		received <- in.run(first)
	}()
	return in.answer(received)
}

// format tells how a volume's payloads are read.
func format(ctx context.Context, g *host.Group, id pinetree.VolumeID) (pinetree.Format, error) {
	var f pinetree.Format
	_, err := g.Read(ctx, host.ReadRequest{Volume: id, Level: pinetree.ReadStale}, func(r engine.Reader) error {
		f = r.Position().Format
		return nil
	})
	return f, err
}

// intake is one stream of a writer.
type intake struct {
	stream  wirepb.Compute_ShipServer
	session *host.Session
	format  pinetree.Format
	metrics *metrics
	// admit waits until the volume's settings allow so many bytes.
	admit func(bytes int) error
	held  chan time.Duration // the newest of the waits

	end pinetree.LSN // highest one offered; run's own until it returned
}

// run takes requests until the client has sent its last one.
func (in *intake) run(q *wirepb.ShipRequest) error {
	for {
		batches, err := in.decode(q)
		if err != nil {
			return err
		}
		if len(batches) > 0 {
			size := 0
			for _, b := range batches {
				size += b.Size()
			}
			if err := in.admit(size); err != nil {
				return err
			}
			if err := in.session.Offer(in.stream.Context(), batches); err != nil {
				return err
			}
		}
		q, err = in.stream.Recv()
		if err != nil {
			return goodbye(err)
		}
	}
}

// decode reads and checks the batches of a request. What a replica could not
// replay is refused here, because once committed it would stop all of them.
func (in *intake) decode(q *wirepb.ShipRequest) ([]pinetree.Batch, error) {
	batches := make([]pinetree.Batch, 0, len(q.Batches))
	for _, encoded := range q.Batches {
		b, rest, err := storepb.DecodeBatch(encoded)
		if err != nil {
			return nil, err
		}
		if len(rest) != 0 {
			return nil, fmt.Errorf("%w: %d bytes follow the batch that ends at %s", pinetree.ErrBadBatch, len(rest), b.LSN)
		}
		if in.format == pinetree.FormatRedo {
			err = engine.CheckRedo(b)
		} else {
			err = storepb.Records(b, func(pinetree.Record) error { return nil })
		}
		if err != nil {
			// Not as ErrCorrupt: the checksum is right, so the writer made it
			// so, and sending it again would not help.
			return nil, fmt.Errorf("%w: %v", pinetree.ErrBadBatch, err)
		}
		in.end = max(in.end, b.LSN)
		in.metrics.received(b)
		batches = append(batches, b)
	}
	return batches, nil
}

// hold tells the writer that it waits for the volume's settings and for nothing
// else.
func (in *intake) hold(wait time.Duration) {
	select {
	case <-in.held: // an older one
	default:
	}
	in.held <- wait
}

// answer sends progress until the stream ends.
func (in *intake) answer(received chan error) error {
	var sent pinetree.LSN
	var target pinetree.LSN // what is to be acknowledged before the end
	ending := false
	for {
		held := time.Duration(0)
		select {
		case <-in.session.Changed():
		case held = <-in.held:
		case err := <-received:
			if err != nil {
				return err
			}
			ending, target, received = true, in.end, nil
		case <-in.stream.Context().Done():
			return in.stream.Context().Err()
		}
		p := in.session.Progress()
		// What was acknowledged before an error is told before it.
		if p.Err == nil || p.Committed > sent {
			sent = p.Committed
			err := in.stream.Send(&wirepb.ShipResponse{
				CommittedLsn: uint64(p.Committed), AppliedLsn: uint64(p.Applied), MissingLsn: uint64(p.Missing),
				WaitMs: uint64(held.Milliseconds()),
			})
			if err != nil {
				return err
			}
		}
		if p.Err != nil {
			return p.Err
		}
		if ending && p.Committed >= target {
			return nil
		}
	}
}

// replayed is how far this replica has replayed a volume, with its settings.
func replayed(g *host.Group, id pinetree.VolumeID) pinetree.VolumePosition {
	at, _ := g.Replayed()
	return at.Volumes[id]
}

// goodbye makes the ordinary end of a client's stream no error.
func goodbye(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}
