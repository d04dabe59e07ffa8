package ship

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/adapter/asking"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// ReadConfig tells how fresh reads must be and who may answer them.
type ReadConfig struct {
	// Level is how fresh: pinetree.ReadDefault, ReadStale or ReadConsistent.
	Level pinetree.ReadLevel
	// MinLSN, when not zero, makes a read wait until the replica has replayed
	// that far; the caller's context bounds the wait.
	MinLSN pinetree.LSN
	// MaxStaleness, when not zero, bounds a stale read: it reflects every append
	// that was acknowledged longer ago than this, in whole milliseconds. A replica
	// that cannot prove that refuses, and another one is asked. A Tail is bound by
	// it where it begins, and at other levels nothing is stale.
	MaxStaleness time.Duration
	// At, when not zero, reads the state as of that LSN.
	At pinetree.LSN
	// Node, when not zero, is the only node that is asked. Default reads are
	// answered by the leader alone, so there it leads to NotLeader elsewhere.
	Node pinetree.NodeID
}

// Reader reads a volume, always in the same way. It finds the leader or a
// replica, asks another one when one cannot answer, and gives up when the
// context ends or the client's RetryFor is over. Any number of goroutines may
// use it.
type Reader struct {
	client *Client
	cfg    ReadConfig
}

// Reader returns a reader of the volume. It needs no closing.
func (c *Client) Reader(cfg ReadConfig) *Reader { return &Reader{client: c, cfg: cfg} }

// Served tells how a read was answered.
type Served struct {
	LSN   pinetree.LSN       // the state that was read is the one at this LSN
	Level pinetree.ReadLevel // ReadConsistent where a default read found no lease
	Node  pinetree.NodeID
	// Stale: every append that was acknowledged longer than this before the read
	// reached the node is in the state. Negative when the node did not know.
	Stale time.Duration
}

// PageRead is the answer of Page.
type PageRead struct {
	Served
	Page    []byte
	PageLSN pinetree.LSN // last change of the page
}

// KeyRead is the answer of Key.
type KeyRead struct {
	Served
	Value  []byte
	KeyLSN pinetree.LSN // last change of the key
}

// KeyValue is one item of a RangeRead.
type KeyValue struct {
	Key, Value []byte
	LSN        pinetree.LSN // last change of the key
}

// RangeQuery selects the keys from Start, inclusive, to End, exclusive; an
// empty End is no bound, a Limit of zero leaves it to the node.
type RangeQuery struct {
	Start, End []byte
	Limit      int
}

// RangeRead is the answer of Range, in the order of the keys. With More, the
// next part begins after the last key; read it At Served.LSN to have both from
// one state.
type RangeRead struct {
	Served
	Items []KeyValue
	More  bool
}

// State is the answer of Reader.State.
type State struct {
	Served
	Group      pinetree.GroupID
	Term       pinetree.ComputeTerm
	Base       pinetree.LSN
	Format     pinetree.Format
	Watermarks pinetree.Watermarks
}

// Digest is the answer of Reader.Digest.
type Digest struct {
	Served
	Sum     []byte
	Records uint64
	Bytes   uint64
}

// Page reads a page. Reports pinetree.ErrNotFound for one that was never
// written. Reads that are under way at once share calls; see Config.Gather.
func (r *Reader) Page(ctx context.Context, page pinetree.PageNo) (PageRead, error) {
	return r.client.ferry.Read(ctx, r.cfg, onePage(page))
}

// Key reads a key. Reports pinetree.ErrNotFound for one that is not there.
func (r *Reader) Key(ctx context.Context, key []byte) (KeyRead, error) {
	a, err := ask(ctx, r, question{what: fmt.Sprintf("key %q", key), limit: r.limit()}, func(ctx context.Context, reads wirepb.ReadsClient) (*wirepb.KeyResponse, error) {
		return reads.Key(ctx, &wirepb.KeyRequest{Volume: r.volume(), Options: r.options(), Key: key})
	})
	return KeyRead{Served: served(a.GetServed()), Value: a.GetValue(), KeyLSN: pinetree.LSN(a.GetKeyLsn())}, err
}

// Range reads keys and values.
func (r *Reader) Range(ctx context.Context, q RangeQuery) (RangeRead, error) {
	a, err := ask(ctx, r, question{what: fmt.Sprintf("keys from %q to %q", q.Start, q.End), limit: r.limit()}, func(ctx context.Context, reads wirepb.ReadsClient) (*wirepb.RangeResponse, error) {
		return reads.Range(ctx, &wirepb.RangeRequest{Volume: r.volume(), Options: r.options(), Start: q.Start, End: q.End, Limit: uint32(q.Limit)})
	})
	read := RangeRead{Served: served(a.GetServed()), More: a.GetMore()}
	for _, item := range a.GetItems() {
		read.Items = append(read.Items, KeyValue{Key: item.Key, Value: item.Value, LSN: pinetree.LSN(item.Lsn)})
	}
	return read, err
}

// State reads the volume's watermarks and compute term.
func (r *Reader) State(ctx context.Context) (State, error) {
	a, err := ask(ctx, r, question{what: "state", limit: r.limit()}, func(ctx context.Context, reads wirepb.ReadsClient) (*wirepb.StateResponse, error) {
		return reads.State(ctx, &wirepb.StateRequest{Volume: r.volume(), Options: r.options()})
	})
	m := a.GetWatermarks()
	return State{
		Served: served(a.GetServed()), Group: pinetree.GroupID(a.GetGroup()), Term: pinetree.ComputeTerm(a.GetComputeTerm()),
		Base: pinetree.LSN(a.GetBase()), Format: pinetree.Format(a.GetFormat()),
		Watermarks: pinetree.Watermarks{
			Truncated: pinetree.LSN(m.GetTruncated()), Flushed: pinetree.LSN(m.GetFlushed()), Applied: pinetree.LSN(m.GetApplied()),
			Committed: pinetree.LSN(m.GetCommitted()), Ordered: pinetree.LSN(m.GetOrdered()), Received: pinetree.LSN(m.GetReceived()),
		},
	}, err
}

// Digest hashes all that a replica has replayed, up to At when that is set.
// Replicas with equal digests at one LSN hold the same.
func (r *Reader) Digest(ctx context.Context) (Digest, error) {
	a, err := ask(ctx, r, question{what: "digest", heavy: true}, func(ctx context.Context, reads wirepb.ReadsClient) (*wirepb.DigestResponse, error) {
		return reads.Digest(ctx, &wirepb.DigestRequest{Volume: r.volume(), Options: r.options()})
	})
	return Digest{Served: served(a.GetServed()), Sum: a.GetDigest(), Records: a.GetRecords(), Bytes: a.GetBytes()}, err
}

// Resolution tells what became of an append.
type Resolution struct {
	Outcome adapter.Outcome
	Durable pinetree.LSN         // the log's end
	Term    pinetree.ComputeTerm // the term that is open now
}

// Resolve asks the leader what became of an append. NotCommitted is not final:
// the append's term is still open, and sending it again settles it.
func (c *Client) Resolve(ctx context.Context, a adapter.Append) (Resolution, error) {
	var answer *wirepb.ResolveResponse
	err := c.retry(ctx, fmt.Sprintf("resolve the append that ends at %s", a.LSN), func(ctx context.Context) error {
		return c.onLeader(ctx, func(ctx context.Context, at Replica, conn *asking.Conn) error {
			return c.unlessReplaced(ctx, at, c.cfg.AttemptTimeout, func(ctx context.Context) (err error) {
				answer, err = wirepb.NewComputeClient(conn).Resolve(ctx, &wirepb.ResolveRequest{Volume: uint64(c.Volume()), ComputeTerm: uint64(a.Term), Lsn: uint64(a.LSN)})
				return err
			})
		})
	})
	if err != nil {
		return Resolution{}, err
	}
	r := Resolution{Durable: pinetree.LSN(answer.DurableLsn), Term: pinetree.ComputeTerm(answer.ComputeTerm)}
	switch answer.Outcome {
	case wirepb.ResolveResponse_COMMITTED:
		r.Outcome = adapter.Committed
	case wirepb.ResolveResponse_NOT_COMMITTED:
		r.Outcome = adapter.NotCommitted
	case wirepb.ResolveResponse_REJECTED:
		r.Outcome = adapter.Rejected
	default:
		return r, fmt.Errorf("resolve the append that ends at %s: the node answered with outcome %d, which this build does not know", a.LSN, answer.Outcome)
	}
	return r, nil
}

// question is what is read, for errors, and how long one node may take over it;
// zero leaves that to the caller's context.
type question struct {
	what  string
	limit time.Duration
	heavy bool // so much work that no second node is given it
}

// limit bounds an attempt of a read that is quick once it can be served.
func (r *Reader) limit() time.Duration {
	if r.cfg.MinLSN != 0 {
		return 0
	}
	return r.client.cfg.AttemptTimeout
}

// answered is the answer of any read.
type answered interface{ GetServed() *wirepb.Served }

// readCall is one kind of read.
type readCall[A answered] func(context.Context, *asking.Conn) (A, error)

// ask makes one read, of whoever may answer it.
func ask[A answered](ctx context.Context, r *Reader, q question, call func(context.Context, wirepb.ReadsClient) (A, error)) (A, error) {
	return askNode(ctx, r, q, func(ctx context.Context, conn *asking.Conn) (A, error) {
		return call(ctx, r.client.reads(conn))
	})
}

// reads makes reads of a node: of pages and keys over streams that other reads use,
// too, unless each is to be a call of its own.
func (c *Client) reads(conn *asking.Conn) wirepb.ReadsClient {
	if c.cfg.Gather.Off {
		return wirepb.NewReadsClient(conn.ClientConn)
	}
	return wirepb.NewReadsClient(conn)
}

// askNode is ask for a read of any service.
func askNode[A answered](ctx context.Context, r *Reader, q question, call readCall[A]) (A, error) {
	r.client.keepFresh()
	var answer A
	try := func(ctx context.Context) (err error) {
		answer, err = once(ctx, r, q, call)
		return err
	}
	if r.onlyLeader() {
		// The leader nearly always answers. What trying again takes is made after that.
		failed := try(ctx)
		if failed == nil {
			return answer, nil
		}
		again := try
		try = func(ctx context.Context) error {
			err := failed
			if failed = nil; err == nil {
				err = again(ctx)
			}
			return err
		}
	}
	if err := r.client.retry(ctx, "read "+q.what, try); err != nil {
		var none A
		return none, err
	}
	return answer, nil
}

// once makes one round of a read: of the leader, or of the replicas. The answer
// counts without an error only.
func once[A answered](ctx context.Context, r *Reader, q question, call readCall[A]) (answer A, err error) {
	if !r.onlyLeader() {
		return race(ctx, r, q, call)
	}
	err = r.client.onLeader(ctx, func(ctx context.Context, at Replica, conn *asking.Conn) error {
		return r.client.unlessReplaced(ctx, at, q.limit, func(ctx context.Context) (err error) {
			answer, err = call(ctx, conn)
			return err
		})
	})
	return answer, err
}

// onlyLeader tells that nobody but the leader may answer.
func (r *Reader) onlyLeader() bool { return r.cfg.Level == pinetree.ReadDefault && r.cfg.Node == 0 }

// round asks the replicas that may answer until one does.
func (r *Reader) round(ctx context.Context, call nodeCall) error {
	if r.onlyLeader() {
		return r.client.onLeader(ctx, call)
	}
	return r.client.onReplica(ctx, r.cfg, call)
}

func (r *Reader) volume() uint64 { return uint64(r.client.Volume()) }

func (r *Reader) options() *wirepb.ReadOptions {
	o := &wirepb.ReadOptions{MinLsn: uint64(r.cfg.MinLSN), At: uint64(r.cfg.At)}
	switch r.cfg.Level {
	case pinetree.ReadStale:
		o.Level = wirepb.ReadLevel_STALE
		if r.cfg.MaxStaleness > 0 {
			o.MaxStaleMs = uint32(min(max(r.cfg.MaxStaleness/time.Millisecond, 1), math.MaxUint32))
		}
	case pinetree.ReadConsistent:
		o.Level = wirepb.ReadLevel_CONSISTENT
	}
	return o
}

func served(s *wirepb.Served) Served {
	out := Served{LSN: pinetree.LSN(s.GetLsn()), Node: pinetree.NodeID(s.GetNode()), Stale: -1}
	if s != nil && s.StaleMs != nil {
		out.Stale = time.Duration(s.GetStaleMs()) * time.Millisecond
	}
	switch s.GetLevel() {
	case wirepb.ReadLevel_STALE:
		out.Level = pinetree.ReadStale
	case wirepb.ReadLevel_CONSISTENT:
		out.Level = pinetree.ReadConsistent
	}
	return out
}
