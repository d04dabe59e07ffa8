package pagestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

// Snapshot is the pages of a store as one transaction has left them, for a
// compute node that only reads. It asks the replicas and never the leader in
// particular, disturbs no writer, and stays what it is while the writer goes on,
// for as long as the volume keeps versions so old. Any number of goroutines may
// use it.
type Snapshot struct {
	client *ship.Client
	// LSN is the end of the last transaction that is in it, and Commits is how
	// many there are.
	LSN     pinetree.LSN
	Commits uint64
	Node    pinetree.NodeID // the replica that was asked first
}

// TakeSnapshot takes the newest state that a replica has, once it has replayed
// the log up to an LSN; zero takes it as it is. Who has been told of a transaction
// sees it in a snapshot that is at least at its Commit.LSN. Reports
// pinetree.ErrNotFound while there is no transaction in it.
func TakeSnapshot(ctx context.Context, client *ship.Client, least pinetree.LSN) (*Snapshot, error) {
	read, err := client.Reader(ship.ReadConfig{Level: pinetree.ReadStale, MinLSN: least}).Page(ctx, header)
	if err != nil {
		return nil, err
	}
	if len(read.Page) != PageBytes {
		return nil, fmt.Errorf("%w: page %d has %d bytes; the volume is not a store's", pinetree.ErrBadBatch, header, len(read.Page))
	}
	// The last record of a transaction changes the header, so its last change is
	// where the last transaction ends, even if the replica is within a later one.
	return &Snapshot{client: client, LSN: read.PageLSN, Commits: binary.LittleEndian.Uint64(read.Page), Node: read.Node}, nil
}

// Read copies what stands in a page from an offset on. What was never written is
// zero. Reports pinetree.ErrTruncated when versions as old as the snapshot are
// gone; then a new one is to be taken.
func (s *Snapshot) Read(ctx context.Context, page pinetree.PageNo, offset int, into []byte) error {
	if err := within(page, offset, into); err != nil {
		return err
	}
	clear(into)
	// MinLSN for a replica that is not there yet, At for one that is further.
	read, err := s.client.Reader(ship.ReadConfig{Level: pinetree.ReadStale, MinLSN: s.LSN, At: s.LSN}).Page(ctx, page)
	switch {
	case errors.Is(err, pinetree.ErrNotFound):
		return nil
	case err != nil:
		return err
	case len(read.Page) != PageBytes:
		return fmt.Errorf("%w: page %d has %d bytes; the volume is not a store's", pinetree.ErrBadBatch, page, len(read.Page))
	}
	copy(into, read.Page[offset:])
	return nil
}
