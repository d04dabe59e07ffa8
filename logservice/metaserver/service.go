// Package metaserver is the Meta service of a node: reads, transactions and
// watches of volumes' metadata, over the replicas that the node hosts. It checks
// requests, turns messages into the types of package meta and back, and bounds what
// one answer carries and how many watches there are. What a transaction does is
// decided elsewhere.
package metaserver

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// defaultRangeLimit is the limit of a range that asked for none, and
	// maxRangeLimit the largest one.
	defaultRangeLimit, maxRangeLimit = 1_000, 10_000
	// maxRangeBytes is about how much one answer carries, beyond its first item:
	// with that one, less than what clients of gRPC take by default.
	maxRangeBytes = 2 << 20
)

// Config says what a Service serves.
type Config struct {
	Host *host.Host
	Node pinetree.NodeID
	// Read, when set, hears at which level each read was answered.
	Read func(pinetree.ReadLevel)
	// MaxWatches bounds the watches of the node; default 4,096.
	MaxWatches int
}

// Service implements wirepb.MetaServer.
type Service struct {
	wirepb.UnimplementedMetaServer
	cfg     Config
	watches atomic.Int64
}

// New makes the service. It has no goroutines of its own.
func New(cfg Config) *Service {
	if cfg.MaxWatches == 0 {
		cfg.MaxWatches = 4096
	}
	if cfg.Read == nil {
		cfg.Read = func(pinetree.ReadLevel) {}
	}
	return &Service{cfg: cfg}
}

// Watches counts those that are served now.
func (s *Service) Watches() int { return int(s.watches.Load()) }

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

// MetaRange implements wirepb.MetaServer. A stale read of a revision that this
// replica has not replayed yet waits for it.
func (s *Service) MetaRange(ctx context.Context, q *wirepb.MetaRangeRequest) (*wirepb.MetaRangeResponse, error) {
	level, ok := levels[q.Options.GetLevel()]
	if !ok {
		return nil, badRequest("read level %d; known are 0 to 2", q.Options.GetLevel())
	}
	spec := meta.RangeSpec{
		Span: meta.Span{Key: q.Key, End: q.End}, Revision: pinetree.MetaRevision(q.Revision), KeysOnly: q.KeysOnly,
		Limit: int(min(q.Limit, maxRangeLimit)), MaxBytes: maxRangeBytes,
	}
	if spec.Limit == 0 {
		spec.Limit = defaultRangeLimit
	}
	if err := spec.Span.Check(); err != nil {
		return nil, err
	}
	id := pinetree.VolumeID(q.Volume)
	g, err := s.cfg.Host.Volume(id)
	if err != nil {
		return nil, err
	}
	if level == pinetree.ReadStale && spec.Revision > 0 {
		if _, err := g.FollowMeta(ctx, id, spec.Revision-1); err != nil {
			return nil, fmt.Errorf("volume %d: waiting for revision %d of the metadata to be replayed: %w", id, spec.Revision, err)
		}
	}
	var read meta.RangeRead
	var compacted pinetree.MetaRevision
	answered, err := g.ReadMeta(ctx, host.ReadRequest{
		Volume: id, Level: level, MinLSN: pinetree.LSN(q.Options.GetMinLsn()), MaxStale: time.Duration(q.Options.GetMaxStaleMs()) * time.Millisecond,
	}, func(t *meta.Table) (err error) {
		compacted = t.Compacted()
		read, err = t.Range(spec)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.cfg.Read(answered.Level)
	served := &wirepb.Served{Level: wireLevels[answered.Level], Node: uint64(s.cfg.Node)}
	if answered.Stale >= 0 {
		served.StaleMs = proto.Uint32(uint32(min(answered.Stale.Milliseconds(), int64(^uint32(0)))))
	}
	return &wirepb.MetaRangeResponse{
		Served: served, Revision: uint64(read.Revision), Items: itemsToWire(read.Items), More: read.More, Compacted: uint64(compacted),
	}, nil
}

// MetaTxn implements wirepb.MetaServer.
func (s *Service) MetaTxn(ctx context.Context, q *wirepb.MetaTxnRequest) (*wirepb.MetaTxnResponse, error) {
	txn, err := txnOf(q)
	if err != nil {
		return nil, err
	}
	id := pinetree.VolumeID(q.Volume)
	g, err := s.cfg.Host.Volume(id)
	if err != nil {
		return nil, err
	}
	result, err := g.MetaTxn(ctx, id, txn)
	if err != nil {
		return nil, err
	}
	answer := &wirepb.MetaTxnResponse{Succeeded: result.Succeeded, Revision: uint64(result.Revision)}
	for _, r := range result.Ops {
		answer.Results = append(answer.Results, &wirepb.MetaOpResult{Items: itemsToWire(r.Items), Deleted: uint32(r.Deleted), More: r.More})
	}
	return answer, nil
}

// MetaCompact implements wirepb.MetaServer.
func (s *Service) MetaCompact(ctx context.Context, q *wirepb.MetaCompactRequest) (*wirepb.MetaCompactResponse, error) {
	id := pinetree.VolumeID(q.Volume)
	g, err := s.cfg.Host.Volume(id)
	if err != nil {
		return nil, err
	}
	compacted, err := g.MetaCompact(ctx, id, pinetree.MetaRevision(q.Revision))
	if err != nil {
		return nil, err
	}
	return &wirepb.MetaCompactResponse{Compacted: uint64(compacted)}, nil
}

func badRequest(format string, args ...any) error {
	return fmt.Errorf("%w: %s", pinetree.ErrBadBatch, fmt.Sprintf(format, args...))
}
