package metaclient

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc"

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
}

// NewCalls makes calls over a client, which stays the caller's to close.
func NewCalls(client *ship.Client) *Calls { return &Calls{client: client} }

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
// so that it is carried out once, however often it has to be sent. An error other
// than a refusal leaves open what became of it; the same request may be made again
// to learn that.
func (c *Calls) MetaTxn(ctx context.Context, q *wirepb.MetaTxnRequest) (*wirepb.MetaTxnResponse, error) {
	q.Volume = c.volume()
	if len(q.Id) == 0 {
		q.Id = make([]byte, 16)
		_, _ = rand.Read(q.Id) // it never fails
	}
	var answer *wirepb.MetaTxnResponse
	err := c.client.OnLeader(ctx, "transaction on metadata", func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		answer, err = wirepb.NewMetaClient(conn).MetaTxn(ctx, q)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.notice(answer.Revision)
	return answer, nil
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
