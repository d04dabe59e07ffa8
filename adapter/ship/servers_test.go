package ship

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// fakeNode is one storage node of the world.
type fakeNode struct {
	process
	world *world
	id    pinetree.NodeID
	zone  string
	// frozen nodes, such as one that was stopped by a signal, answer nothing.
	frozen bool
	// zombie leaders were replaced and have not noticed: they take batches,
	// answer Open with the LSN that they knew, and acknowledge nothing.
	zombie   bool
	zombieAt pinetree.LSN
	// tailFault, when set, may change or refuse an answer of Tail.
	tailFault  func(*wirepb.TailRequest, *wirepb.TailResponse) error
	pagesAsked func(*wirepb.PagesRequest) // hears of every Pages that was answered
	reads      int
	condition  condition
}

// meet waits while the node is frozen and then runs f under the world's lock.
func (n *fakeNode) meet(ctx context.Context, f func() error) error {
	w := n.world
	for {
		w.mu.Lock()
		if !n.frozen {
			defer w.mu.Unlock()
			return f()
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type fakeCompute struct {
	wirepb.UnimplementedComputeServer
	node *fakeNode
}

// Open fences lower terms behind what is in raft's hands.
func (s fakeCompute) Open(ctx context.Context, q *wirepb.OpenRequest) (answer *wirepb.OpenResponse, err error) {
	w := s.node.world
	err = s.node.meet(ctx, func() error {
		term := pinetree.ComputeTerm(q.ComputeTerm)
		if s.node.zombie && term == w.at.Term() {
			answer = &wirepb.OpenResponse{ComputeTerm: q.ComputeTerm, DurableLsn: uint64(s.node.zombieAt), Base: uint64(w.at.Base), Format: uint32(w.at.Format)}
			return nil
		}
		if s.node.id != w.leader {
			return w.notLeader()
		}
		switch open := w.at.Term(); {
		case term == 0:
			term = open + 1
		case term < open:
			return &pinetree.StaleComputeTermError{Volume: testVolume, Term: open, Durable: w.at.LSN}
		}
		if term > w.at.Term() {
			w.commit(len(w.inRaft))
			w.at, _ = adapter.OpenTerm(w.at, adapter.Fence{Term: term, Base: pinetree.LSN(q.Base)})
			w.queue.Reset(w.at)
			w.tell()
		}
		answer = &wirepb.OpenResponse{
			ComputeTerm: uint64(term), DurableLsn: uint64(w.at.LSN), Base: uint64(w.at.Base), Format: uint32(w.at.Format), Node: uint64(s.node.id),
		}
		return nil
	})
	return answer, err
}

// Resolve asks the committed log.
func (s fakeCompute) Resolve(ctx context.Context, q *wirepb.ResolveRequest) (answer *wirepb.ResolveResponse, err error) {
	w := s.node.world
	err = s.node.meet(ctx, func() error {
		if s.node.id != w.leader {
			return w.notLeader()
		}
		outcome, err := adapter.Resolve(w.at, adapter.Append{Term: pinetree.ComputeTerm(q.ComputeTerm), LSN: pinetree.LSN(q.Lsn)})
		answer = &wirepb.ResolveResponse{DurableLsn: uint64(w.at.LSN), ComputeTerm: uint64(w.at.Term())}
		switch outcome {
		case adapter.Committed:
			answer.Outcome = wirepb.ResolveResponse_COMMITTED
		case adapter.NotCommitted:
			answer.Outcome = wirepb.ResolveResponse_NOT_COMMITTED
		case adapter.Rejected:
			answer.Outcome = wirepb.ResolveResponse_REJECTED
		}
		return err
	})
	return answer, err
}

// Ship takes batches in on one goroutine and tells the progress on another.
func (s fakeCompute) Ship(stream wirepb.Compute_ShipServer) error {
	w, ctx := s.node.world, stream.Context()
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	term := pinetree.ComputeTerm(first.ComputeTerm)
	epoch := 0
	if err := s.node.meet(ctx, func() error {
		if epoch = w.epoch; s.node.id != w.leader && !s.node.zombie {
			return w.notLeader()
		}
		return nil
	}); err != nil {
		return err
	}
	taken := make(chan error, 1)
	go func() { taken <- s.takeIn(stream) }()
	var sent pinetree.LSN
	for {
		var tell *wirepb.ShipResponse
		var changed chan struct{}
		err := s.node.meet(ctx, func() error {
			changed = w.changed
			if s.node.zombie {
				return nil
			}
			if w.at.LSN > sent && term == w.at.Term() && !w.silent {
				sent = w.at.LSN
				tell = &wirepb.ShipResponse{CommittedLsn: uint64(sent), AppliedLsn: uint64(sent)}
				return nil
			}
			switch {
			case w.epoch != epoch:
				return w.notLeader()
			case term < w.at.Term():
				return &pinetree.StaleComputeTermError{Volume: testVolume, Term: w.at.Term(), Durable: w.at.LSN}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if tell != nil {
			if err := stream.Send(tell); err != nil {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case err := <-taken:
			return err
		case <-w.held(stream):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type fakeReads struct {
	wirepb.UnimplementedReadsServer
	node *fakeNode
}

// serve answers as the level allows.
func (s fakeReads) serve(ctx context.Context, o *wirepb.ReadOptions, f func() error) (served *wirepb.Served, err error) {
	w := s.node.world
	s.node.dawdle(ctx)
	err = s.node.meet(ctx, func() error {
		s.node.reads++
		if o.GetLevel() == wirepb.ReadLevel_DEFAULT && s.node.id != w.leader {
			return w.notLeader()
		}
		served = &wirepb.Served{Lsn: uint64(w.at.LSN), Level: o.GetLevel(), Node: uint64(s.node.id)}
		if err := s.node.condition.prove(o, served); err != nil {
			return err
		}
		return f()
	})
	return served, err
}

// Key finds the last record "key=value".
func (s fakeReads) Key(ctx context.Context, q *wirepb.KeyRequest) (*wirepb.KeyResponse, error) {
	answer := &wirepb.KeyResponse{}
	served, err := s.serve(ctx, q.Options, func() error {
		err := fmt.Errorf("%w: key %q", pinetree.ErrNotFound, q.Key)
		for _, r := range recordsOf(s.node.world.t, s.node.world.at.Base, s.node.world.log) {
			if key, value, _ := bytes.Cut(r.Payload, []byte("=")); bytes.Equal(key, q.Key) {
				answer.Value, answer.KeyLsn, err = value, uint64(r.LSN), nil
			}
		}
		return err
	})
	answer.Served = served
	return answer, err
}

// Page gives the record of a number, counted from 0, as a page.
func (s fakeReads) Page(ctx context.Context, q *wirepb.PageRequest) (*wirepb.PageResponse, error) {
	answer := &wirepb.PageResponse{}
	served, err := s.serve(ctx, q.Options, func() error {
		records := recordsOf(s.node.world.t, s.node.world.at.Base, s.node.world.log)
		if q.Page >= uint64(len(records)) {
			return fmt.Errorf("%w: page %d", pinetree.ErrNotFound, q.Page)
		}
		answer.Page, answer.PageLsn = records[q.Page].Payload, uint64(records[q.Page].LSN)
		return nil
	})
	answer.Served = served
	return answer, err
}

// Range gives the records "key=value" between two keys.
func (s fakeReads) Range(ctx context.Context, q *wirepb.RangeRequest) (*wirepb.RangeResponse, error) {
	answer := &wirepb.RangeResponse{}
	served, err := s.serve(ctx, q.Options, func() error {
		for _, r := range recordsOf(s.node.world.t, s.node.world.at.Base, s.node.world.log) {
			key, value, _ := bytes.Cut(r.Payload, []byte("="))
			if bytes.Compare(key, q.Start) < 0 || len(q.End) > 0 && bytes.Compare(key, q.End) >= 0 {
				continue
			}
			if answer.More = len(answer.Items) == int(q.Limit); answer.More {
				break
			}
			answer.Items = append(answer.Items, &wirepb.KeyValue{Key: key, Value: value, Lsn: uint64(r.LSN)})
		}
		return nil
	})
	answer.Served = served
	return answer, err
}

// State tells the volume's position.
func (s fakeReads) State(ctx context.Context, q *wirepb.StateRequest) (*wirepb.StateResponse, error) {
	answer := &wirepb.StateResponse{Group: uint64(testGroup)}
	served, err := s.serve(ctx, q.Options, func() error {
		at := s.node.world.at
		answer.ComputeTerm, answer.Base, answer.Format = uint64(at.Term()), uint64(at.Base), uint32(at.Format)
		answer.Watermarks = &wirepb.Watermarks{Truncated: uint64(at.Truncated), Flushed: uint64(at.LSN), Applied: uint64(at.LSN), Committed: uint64(at.LSN), Ordered: uint64(at.LSN), Received: uint64(at.LSN)}
		return nil
	})
	answer.Served = served
	return answer, err
}

// Digest hashes the log.
func (s fakeReads) Digest(ctx context.Context, q *wirepb.DigestRequest) (*wirepb.DigestResponse, error) {
	answer := &wirepb.DigestResponse{}
	served, err := s.serve(ctx, q.Options, func() error {
		sum := sha256.New()
		for _, r := range recordsOf(s.node.world.t, s.node.world.at.Base, s.node.world.log) {
			_ = binary.Write(sum, binary.LittleEndian, uint64(r.LSN))
			_, _ = sum.Write(r.Payload)
			answer.Records++
			answer.Bytes += uint64(len(r.Payload))
		}
		answer.Digest = sum.Sum(nil)
		return nil
	})
	answer.Served = served
	return answer, err
}

// Tail sends two batches at a time, from the one that holds from on.
func (s fakeReads) Tail(q *wirepb.TailRequest, stream wirepb.Reads_TailServer) error {
	w, from := s.node.world, pinetree.LSN(q.From)
	for {
		var answer *wirepb.TailResponse
		var changed chan struct{}
		_, err := s.serve(stream.Context(), q.Options, func() error {
			changed = w.changed
			if from != 0 && from < w.at.Truncated {
				return &pinetree.TruncatedError{Volume: testVolume, Asked: from, First: w.at.Truncated}
			}
			i := slices.IndexFunc(w.log, func(b pinetree.Batch) bool { return b.LSN > from })
			if i < 0 {
				return nil
			}
			answer = &wirepb.TailResponse{AppliedLsn: uint64(w.at.LSN)}
			for _, b := range w.log[i:min(i+2, len(w.log))] {
				answer.Batches, from = append(answer.Batches, b.Encoded), b.LSN
			}
			if s.node.tailFault != nil {
				return s.node.tailFault(q, answer)
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case answer != nil:
			if err := stream.Send(answer); err != nil {
				return err
			}
		case !q.Follow:
			return nil
		default:
			select {
			case <-changed:
			case <-stream.Context().Done():
				return stream.Context().Err()
			}
		}
	}
}

// fakeManager answers routes.
type fakeManager struct {
	wirepb.UnimplementedManagerServer
	process
	world *world
	// behind, when not zero, is whom it believes to lead.
	behind pinetree.NodeID
	asked  int
	// remade, when not zero, is the volume that has the name now.
	remade pinetree.VolumeID
}

func (m *fakeManager) serve(s *grpc.Server) { wirepb.RegisterManagerServer(s, m) }

// nothing makes a server that knows no service.
func (m *fakeManager) nothing(*grpc.Server) {}

// Route tells the world's leader, or whom the manager believes to lead.
func (m *fakeManager) Route(_ context.Context, q *wirepb.RouteRequest) (*wirepb.RouteResponse, error) {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	m.asked++
	if q.VolumeName != "db" {
		return nil, fmt.Errorf("%w: %q", pinetree.ErrUnknownVolume, q.VolumeName)
	}
	leader := w.leader
	if m.behind != 0 {
		leader = m.behind
	}
	answer := &wirepb.RouteResponse{Leader: uint64(leader), Volume: &wirepb.VolumeInfo{Volume: uint64(cmp.Or(m.remade, testVolume)), Group: uint64(testGroup), Name: "db", Format: uint32(w.at.Format)}}
	for _, n := range w.nodes {
		answer.Replicas = append(answer.Replicas, &wirepb.NodeInfo{Node: uint64(n.id), Address: n.addr, Zone: n.zone, Load: n.condition.load})
		answer.States = append(answer.States, n.condition.route(n.id))
	}
	return answer, nil
}

// recordsOf lists the records of a log and checks that they are one chain.
func recordsOf(t testing.TB, base pinetree.LSN, log []pinetree.Batch) []pinetree.Record {
	var all []pinetree.Record
	at := base
	for _, b := range log {
		if err := storepb.Records(b, func(r pinetree.Record) error {
			if r.Prev != at {
				t.Errorf("record (%s, %s] follows on %s", r.Prev, r.LSN, at)
			}
			at = r.LSN
			all = append(all, r)
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	return all
}
