package metaclient

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Calls makes the calls of the Meta service, in the messages of the wire, of
// whoever can answer them. It fills in the requests' volume, and what they say of
// reading is the caller's ship.ReadConfig. Any number of goroutines may use it.
type Calls struct {
	client *ship.Client
	// seen is the newest revision that any answer has named.
	seen atomic.Uint64
	// grace is how much later than it was to a replica may say how far a watch is.
	grace time.Duration
}

// NewCalls makes calls over a client, which stays the caller's to close.
func NewCalls(client *ship.Client) *Calls { return &Calls{client: client, grace: defaultGrace} }

func (c *Calls) volume() uint64 { return uint64(c.client.Volume()) }

// notice remembers a revision that there is.
func (c *Calls) notice(revision uint64) {
	for {
		known := c.seen.Load()
		if known >= revision || c.seen.CompareAndSwap(known, revision) {
			return
		}
	}
}

// MetaRange reads keys. It reports pinetree.ErrTruncated for a revision that is
// no longer kept.
func (c *Calls) MetaRange(ctx context.Context, cfg ship.ReadConfig, q *wirepb.MetaRangeRequest) (*wirepb.MetaRangeResponse, error) {
	reader := c.client.Reader(cfg)
	q.Volume, q.Options = c.volume(), reader.Options()
	a, err := ship.Ask(ctx, reader, "metadata "+span(q.Key, q.End), func(ctx context.Context, conn *grpc.ClientConn) (*wirepb.MetaRangeResponse, error) {
		return wirepb.NewMetaClient(conn).MetaRange(ctx, q)
	})
	if err == nil && q.Revision == 0 {
		c.notice(a.Revision)
	}
	return a, err
}

// MetaTxn carries out a transaction on the leader. One without an id is given one,
// and one without a since the newest revision that is known, so that it is carried
// out once, however often it has to be sent. An error other than a refusal leaves
// open what became of it; the same request, with the same id and since, may be made
// again to learn that. A pinetree.ErrTruncated says that it is too late to learn it
// so.
func (c *Calls) MetaTxn(ctx context.Context, q *wirepb.MetaTxnRequest) (*wirepb.MetaTxnResponse, error) {
	q.Volume = c.volume()
	if len(q.Id) == 0 {
		q.Id = make([]byte, 16)
		_, _ = rand.Read(q.Id) // it never fails
	}
	named := q.Since != 0
	if !named {
		q.Since = c.seen.Load()
	}
	if q.Since == 0 {
		if err := c.renew(ctx, q); err != nil {
			return nil, err
		}
	}
	t := &txn{query: q}
	err := c.client.OnLeader(ctx, "transaction on metadata", t.send)
	if errors.Is(err, pinetree.ErrTruncated) && !t.lost && !named {
		// So much has happened since anything was heard of the volume, and nothing of
		// this transaction.
		if err = c.renew(ctx, q); err == nil {
			err = c.client.OnLeader(ctx, "transaction on metadata", t.send)
		}
	}
	if err != nil {
		return nil, err
	}
	c.notice(t.answer.Revision)
	return t.answer, nil
}

// renew finds out since when a transaction may have been carried out.
func (c *Calls) renew(ctx context.Context, q *wirepb.MetaTxnRequest) (err error) {
	q.Since, err = c.newest(ctx)
	return err
}

// txn is a transaction that is being sent.
type txn struct {
	query  *wirepb.MetaTxnRequest
	answer *wirepb.MetaTxnResponse
	lost   bool // an attempt may have been carried out, though it was not answered so
}

func (t *txn) send(ctx context.Context, conn *grpc.ClientConn) (err error) {
	t.answer, err = wirepb.NewMetaClient(conn).MetaTxn(ctx, t.query)
	switch {
	case err == nil, errors.Is(err, pinetree.ErrTruncated), errors.Is(err, pinetree.ErrBadBatch):
		return err
	case errors.Is(err, pinetree.ErrOverQuota) && t.lost:
		// A leader that has not replayed the attempt before may refuse this one.
		return fmt.Errorf("an earlier attempt may have been carried out; this one was refused: %v", err)
	case !errors.Is(err, pinetree.ErrOverQuota):
		t.lost = true
	}
	return err
}

// MetaCompact gives up the history below a revision, on the leader.
func (c *Calls) MetaCompact(ctx context.Context, q *wirepb.MetaCompactRequest) (*wirepb.MetaCompactResponse, error) {
	q.Volume = c.volume()
	var answer *wirepb.MetaCompactResponse
	err := c.client.OnLeader(ctx, fmt.Sprintf("compaction of metadata to revision %d", q.Revision), func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		answer, err = wirepb.NewMetaClient(conn).MetaCompact(ctx, q)
		return err
	})
	return answer, err
}

// nowhere is a key that nobody is interested in; reading it tells the revision.
var nowhere = []byte{0}

// newest asks for the newest revision.
func (c *Calls) newest(ctx context.Context) (uint64, error) {
	a, err := c.MetaRange(ctx, ship.ReadConfig{}, &wirepb.MetaRangeRequest{Key: nowhere, KeysOnly: true})
	return a.GetRevision(), err
}

// span names keys, for errors.
func span(key, end []byte) string {
	switch {
	case len(end) == 0:
		return fmt.Sprintf("key %q", key)
	case len(end) == 1 && end[0] == 0:
		return fmt.Sprintf("keys from %q on", key)
	}
	return fmt.Sprintf("keys from %q to %q", key, end)
}
