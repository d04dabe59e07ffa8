package metaclient

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Client reads, changes and watches the metadata of one volume. Any number of
// goroutines may use it.
type Client struct {
	calls *Calls
	cfg   ship.ReadConfig
}

// New makes a client whose reads are as the config says. The ship.Client stays the
// caller's to close. The config's At does not count: metadata is read as of
// revisions.
func New(client *ship.Client, cfg ship.ReadConfig) *Client {
	return &Client{calls: NewCalls(client), cfg: cfg}
}

// Prefix is the span of all keys that begin so; all keys, when it is empty.
func Prefix(prefix []byte) meta.Span {
	end := slices.Clone(prefix)
	for n := len(end) - 1; n >= 0; n-- {
		if end[n] != 0xff {
			end[n]++
			return meta.Span{Key: prefix, End: end[:n+1]}
		}
	}
	return meta.Span{Key: prefix, End: []byte{0}}
}

// ItemRead is the answer of Get.
type ItemRead struct {
	ship.Served
	Revision pinetree.MetaRevision // that was read
	Item     meta.Item
}

// Get reads a key as of a revision; zero is the newest. Reports
// pinetree.ErrNotFound for a key that is not there, and pinetree.ErrTruncated for a
// revision that is no longer kept.
func (c *Client) Get(ctx context.Context, key []byte, at pinetree.MetaRevision) (ItemRead, error) {
	read, err := c.Range(ctx, meta.RangeSpec{Span: meta.Span{Key: key}, Revision: at})
	if err != nil {
		return ItemRead{}, err
	}
	if len(read.Items) == 0 {
		return ItemRead{}, fmt.Errorf("%w: key %q is not in the metadata at revision %d", pinetree.ErrNotFound, key, read.Revision)
	}
	return ItemRead{Served: read.Served, Revision: read.Revision, Item: read.Items[0]}, nil
}

// RangeRead is the answer of Range, in the order of the keys.
type RangeRead struct {
	ship.Served // of its first part
	Revision    pinetree.MetaRevision
	Items       []meta.Item
	More        bool                  // the limit was met
	Compacted   pinetree.MetaRevision // the oldest revision that can be read
}

// Range reads the keys of a span, all from one state, whatever they take; its Limit
// bounds how many, and its MaxBytes does not count. Errors are those of Get, but
// for keys that are not there.
func (c *Client) Range(ctx context.Context, spec meta.RangeSpec) (RangeRead, error) {
	var read RangeRead
	cfg := c.cfg
	for first := true; first || read.More && (spec.Limit == 0 || len(read.Items) < spec.Limit); first = false {
		q := &wirepb.MetaRangeRequest{Key: spec.Key, End: spec.End, Revision: uint64(spec.Revision), KeysOnly: spec.KeysOnly}
		if spec.Limit > 0 {
			q.Limit = uint32(spec.Limit - len(read.Items))
		}
		a, err := c.calls.MetaRange(ctx, cfg, q)
		if err != nil {
			return RangeRead{}, err
		}
		if first {
			read.Served, read.Revision = ship.ServedBy(a.Served), pinetree.MetaRevision(a.Revision)
		}
		read.More, read.Compacted = a.More, pinetree.MetaRevision(a.Compacted)
		for _, item := range a.Items {
			read.Items = append(read.Items, itemOf(item))
		}
		if !a.More || len(a.Items) == 0 {
			break
		}
		// The state of that revision is the same wherever it is read.
		spec.Key, spec.Revision = append(slices.Clone(a.Items[len(a.Items)-1].Key), 0), read.Revision
		cfg = ship.ReadConfig{Level: pinetree.ReadStale, Node: cfg.Node}
	}
	return read, nil
}

// Txn carries out a transaction once, however often it has to be sent, and one
// without an ID is given one. Reports pinetree.ErrBadBatch for one beyond the
// limits of package meta, and pinetree.ErrOverQuota. An error that is no refusal
// leaves open what became of it; the same transaction may be made again to learn
// that, if it has an ID, and a Since from before the first time.
func (c *Client) Txn(ctx context.Context, txn meta.Txn) (meta.Result, error) {
	q, err := txnToWire(txn)
	if err != nil {
		return meta.Result{}, err
	}
	a, err := c.calls.MetaTxn(ctx, q)
	if err != nil {
		return meta.Result{}, err
	}
	return resultOf(a), nil
}

// Put sets a key and returns the revision that did.
func (c *Client) Put(ctx context.Context, key, value []byte) (pinetree.MetaRevision, error) {
	r, err := c.Txn(ctx, meta.Txn{Then: []meta.Op{{Kind: meta.OpPut, Span: meta.Span{Key: key}, Value: value}}})
	return r.Revision, err
}

// Delete removes the keys of a span and tells how many there were.
func (c *Client) Delete(ctx context.Context, span meta.Span) (deleted int, at pinetree.MetaRevision, err error) {
	r, err := c.Txn(ctx, meta.Txn{Then: []meta.Op{{Kind: meta.OpDelete, Span: span}}})
	if err != nil {
		return 0, 0, err
	}
	return r.Ops[0].Deleted, r.Revision, nil
}

// Compact gives up the history below a revision, which can still be read
// afterwards, and returns the oldest revision that can.
func (c *Client) Compact(ctx context.Context, to pinetree.MetaRevision) (pinetree.MetaRevision, error) {
	a, err := c.calls.MetaCompact(ctx, &wirepb.MetaCompactRequest{Revision: uint64(to)})
	return pinetree.MetaRevision(a.GetCompacted()), err
}

// WatchSpec tells which changes to watch.
type WatchSpec struct {
	meta.Span
	// After: the changes of higher revisions are told, those of the past first.
	// Zero is all that are kept.
	After pinetree.MetaRevision
	// FromNow ignores After: the changes that are not acknowledged yet.
	FromNow bool
	// Progress is how often to tell how far the watch is when nothing changes;
	// default 5 s.
	Progress time.Duration
}

// Step is what a watch tells: all changes up to a revision, after the step before.
type Step struct {
	Revision pinetree.MetaRevision
	// Changes are in the order of their revisions. Without any, the step says that
	// there was nothing.
	Changes []meta.Change
}

// Watch tells fn of every change of the span, in the order of the revisions and
// each once, whatever connections break and replicas leave on the way. To go on
// later, give the last step's Revision as After. fn may keep the step; its error
// ends the watch and is passed on unchanged. Otherwise the watch ends with ctx.
//
// Reports pinetree.ErrTruncated when the changes to go on with are no longer kept:
// what they led to is then to be read anew with Range, and watched from its
// Revision on.
func (c *Client) Watch(ctx context.Context, spec WatchSpec, fn func(Step) error) error {
	q := &wirepb.MetaWatchRequest{
		Key: spec.Key, End: spec.End, After: uint64(spec.After), FromNow: spec.FromNow, ProgressMs: uint32(spec.Progress.Milliseconds()),
	}
	return c.calls.MetaWatch(ctx, c.cfg, q, func(r *wirepb.MetaWatchResponse) error {
		step := Step{Revision: pinetree.MetaRevision(r.Revision)}
		for _, e := range r.Events {
			step.Changes = append(step.Changes, meta.Change{Item: itemOf(e.GetItem()), Deleted: e.GetDeleted()})
		}
		return fn(step)
	})
}
