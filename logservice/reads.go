package logservice

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/logservice/trimmer"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// defaultRangeLimit is the limit of a Range that asked for none, and
	// maxRangeLimit the largest one.
	defaultRangeLimit, maxRangeLimit = 1_000, 10_000
	// maxRangeBytes is about how much one Range answers; more is asked for
	// again.
	maxRangeBytes = 4 << 20
)

// readService is the read side of the node's volumes.
type readService struct {
	wirepb.UnimplementedReadsServer
	node *Node
}

// levels are the read levels on the wire.
var levels = map[wirepb.ReadLevel]pinetree.ReadLevel{
	wirepb.ReadLevel_DEFAULT:    pinetree.ReadDefault,
	wirepb.ReadLevel_STALE:      pinetree.ReadStale,
	wirepb.ReadLevel_CONSISTENT: pinetree.ReadConsistent,
}

var wireLevels = map[pinetree.ReadLevel]wirepb.ReadLevel{
	pinetree.ReadDefault:    wirepb.ReadLevel_DEFAULT,
	pinetree.ReadStale:      wirepb.ReadLevel_STALE,
	pinetree.ReadConsistent: wirepb.ReadLevel_CONSISTENT,
}

// read runs fn, which returns the LSN of the state that it saw, as freshly as
// the options ask for, and counts as so many reads. fn may run twice; the last run
// counts.
func (s *readService) read(ctx context.Context, volume pinetree.VolumeID, reads int, o *wirepb.ReadOptions, fn func(engine.Reader) (pinetree.LSN, error)) (*wirepb.Served, error) {
	level, ok := levels[o.GetLevel()]
	if !ok {
		return nil, badRequest("read level %d; known are 0 to 2", o.GetLevel())
	}
	g, err := s.node.host.Volume(volume)
	if err != nil {
		return nil, err
	}
	if err := s.node.quota.Read(ctx, volume, replayed(g, volume).Settings.ReadRate, reads); err != nil {
		return nil, err
	}
	var at pinetree.LSN
	request := host.ReadRequest{Volume: volume, Level: level, MinLSN: pinetree.LSN(o.GetMinLsn()), MaxStale: time.Duration(o.GetMaxStaleMs()) * time.Millisecond}
	answered, err := g.Read(ctx, request, func(r engine.Reader) error {
		var err error
		at, err = fn(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.node.metrics.read(answered.Level)
	served := &wirepb.Served{Lsn: uint64(at), Level: wireLevels[answered.Level], Node: uint64(s.node.identity.Node)}
	if answered.Stale >= 0 {
		served.StaleMs = proto.Uint32(milliseconds(answered.Stale))
	}
	return served, nil
}

// inTurn makes a read of much data wait for its turn among those of the volume.
func (s *readService) inTurn(ctx context.Context, volume pinetree.VolumeID, fn func(engine.Reader) (pinetree.LSN, error)) func(engine.Reader) (pinetree.LSN, error) {
	return func(r engine.Reader) (pinetree.LSN, error) {
		end, err := s.node.quota.Turn(ctx, volume)
		if err != nil {
			return 0, err
		}
		defer end()
		return fn(r)
	}
}

// Page implements wirepb.ReadsServer.
func (s *readService) Page(ctx context.Context, q *wirepb.PageRequest) (*wirepb.PageResponse, error) {
	var read engine.PageRead
	served, err := s.read(ctx, pinetree.VolumeID(q.Volume), 1, q.Options, func(r engine.Reader) (pinetree.LSN, error) {
		var err error
		read, err = r.Page(pinetree.PageNo(q.Page), pinetree.LSN(q.Options.GetAt()))
		return read.At, err
	})
	if err != nil {
		return nil, err
	}
	return &wirepb.PageResponse{Served: served, Page: read.Page, PageLsn: uint64(read.PageLSN)}, nil
}

// Pages implements wirepb.ReadsServer.
func (s *readService) Pages(ctx context.Context, q *wirepb.PagesRequest) (*wirepb.PagesResponse, error) {
	if len(q.Pages) == 0 {
		return nil, badRequest("no pages to read; name at least one")
	}
	pages := make([]pinetree.PageNo, min(len(q.Pages), engine.MaxPages))
	for i := range pages {
		pages[i] = pinetree.PageNo(q.Pages[i])
	}
	var read engine.PagesRead
	served, err := s.read(ctx, pinetree.VolumeID(q.Volume), len(pages), q.Options, s.inTurn(ctx, pinetree.VolumeID(q.Volume), func(r engine.Reader) (pinetree.LSN, error) {
		var err error
		read, err = engine.ReadPages(r, pages, pinetree.LSN(q.Options.GetAt()))
		return read.At, err
	}))
	if err != nil {
		return nil, err
	}
	answer := &wirepb.PagesResponse{Served: served, Pages: make([]*wirepb.PageOf, len(read.Pages))}
	all := make([]wirepb.PageOf, len(read.Pages))
	for i, p := range read.Pages {
		all[i].Found, all[i].Page, all[i].PageLsn = p.Found, p.Page, uint64(p.PageLSN)
		answer.Pages[i] = &all[i]
	}
	return answer, nil
}

// Key implements wirepb.ReadsServer.
func (s *readService) Key(ctx context.Context, q *wirepb.KeyRequest) (*wirepb.KeyResponse, error) {
	var read engine.KeyRead
	served, err := s.read(ctx, pinetree.VolumeID(q.Volume), 1, q.Options, func(r engine.Reader) (pinetree.LSN, error) {
		var err error
		read, err = r.Get(q.Key, pinetree.LSN(q.Options.GetAt()))
		return read.At, err
	})
	if err != nil {
		return nil, err
	}
	return &wirepb.KeyResponse{Served: served, Value: read.Value, KeyLsn: uint64(read.KeyLSN)}, nil
}

// Range implements wirepb.ReadsServer.
func (s *readService) Range(ctx context.Context, q *wirepb.RangeRequest) (*wirepb.RangeResponse, error) {
	spec := engine.RangeSpec{Start: q.Start, End: q.End, Limit: int(min(q.Limit, maxRangeLimit)), At: pinetree.LSN(q.Options.GetAt())}
	if spec.Limit == 0 {
		spec.Limit = defaultRangeLimit
	}
	var read engine.RangeRead
	served, err := s.read(ctx, pinetree.VolumeID(q.Volume), 1, q.Options, s.inTurn(ctx, pinetree.VolumeID(q.Volume), func(r engine.Reader) (pinetree.LSN, error) {
		var err error
		read, err = r.Range(spec)
		return read.At, err
	}))
	if err != nil {
		return nil, err
	}
	answer := &wirepb.RangeResponse{Served: served, More: read.More}
	size := 0
	for i, item := range read.Items {
		size += len(item.Key) + len(item.Value)
		if i > 0 && size > maxRangeBytes {
			answer.More = true
			break
		}
		answer.Items = append(answer.Items, &wirepb.KeyValue{Key: item.Key, Value: item.Value, Lsn: uint64(item.LSN)})
	}
	return answer, nil
}

// State implements wirepb.ReadsServer.
func (s *readService) State(ctx context.Context, q *wirepb.StateRequest) (*wirepb.StateResponse, error) {
	id := pinetree.VolumeID(q.Volume)
	var at pinetree.VolumePosition
	served, err := s.read(ctx, id, 0, q.Options, func(r engine.Reader) (pinetree.LSN, error) {
		at = r.Position()
		return at.LSN, nil
	})
	if err != nil {
		return nil, err
	}
	g, err := s.node.host.Volume(id)
	if err != nil {
		return nil, err
	}
	w, err := g.Watermarks(ctx, id)
	if err != nil {
		return nil, err
	}
	answer := &wirepb.StateResponse{
		Served: served, Group: uint64(g.ID()), ComputeTerm: uint64(at.Term()), Base: uint64(at.Base), Format: uint32(at.Format),
		Watermarks: &wirepb.Watermarks{
			Truncated: uint64(w.Truncated), Flushed: uint64(w.Flushed), Applied: uint64(w.Applied),
			Committed: uint64(w.Committed), Ordered: uint64(w.Ordered), Received: uint64(w.Received),
		},
		Settings: trimmer.WireSettings(at.Settings), Slots: trimmer.WireSlots(at.Slots), LogBytes: uint64(at.Kept()),
	}
	if kept, here := s.node.trimmer.Explain(id); here {
		answer.KeptBecause = kept.Because
	}
	return answer, nil
}

// Digest implements wirepb.ReadsServer.
func (s *readService) Digest(ctx context.Context, q *wirepb.DigestRequest) (*wirepb.DigestResponse, error) {
	var sum engine.DigestResult
	served, err := s.read(ctx, pinetree.VolumeID(q.Volume), 1, q.Options, s.inTurn(ctx, pinetree.VolumeID(q.Volume), func(r engine.Reader) (pinetree.LSN, error) {
		var err error
		sum, err = engine.Digest(r, pinetree.LSN(q.Options.GetAt()))
		return sum.At, err
	}))
	if err != nil {
		return nil, err
	}
	return &wirepb.DigestResponse{Served: served, Digest: sum.Sum[:], Records: uint64(sum.Records), Bytes: uint64(sum.Bytes)}, nil
}
