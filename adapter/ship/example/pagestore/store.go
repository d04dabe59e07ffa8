package pagestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

const (
	// PageBytes is the size of every page.
	PageBytes = 8 << 10
	// header is the page that the store keeps for itself: the number of
	// transactions, changed by the last record of each. So its last change is the
	// end of the last transaction, at any LSN.
	header pinetree.PageNo = 0
)

// Config tells how a Store works. The zero value will do.
type Config struct {
	// PoolPages is how many pages are kept in memory; default 1,024.
	PoolPages int
	// Timeout bounds the wait for a page and, unless the caller's context ends
	// before, for a transaction to be durable; default 30 s.
	Timeout time.Duration
	// At, when set, is called at each Step.
	At func(Step)
}

func (c Config) withDefaults() Config {
	if c.PoolPages == 0 {
		c.PoolPages = 1024
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.At == nil {
		c.At = func(Step) {}
	}
	return c
}

// Store is the one compute node of a volume that writes. Any number of goroutines
// may use it. When another one has taken the volume over, or nobody could serve
// this one for too long, every call tells why, and only a new Store goes on.
type Store struct {
	client *ship.Client
	writer *ship.Writer
	cfg    Config
	at     Recovery

	mu sync.Mutex // held by the transaction that reads or changes pages
	// pool has the newest version of some pages, versions knows which one that is
	// of those that are in the storage only.
	pool     *pool
	versions versions
	tail     pinetree.LSN // end of what was handed to the writer
	commits  uint64
}

// Recovery is what a Store found when it was opened.
type Recovery struct {
	Term pinetree.ComputeTerm
	// Durable is where the log ended: everything up to it has happened, and
	// nothing of an earlier term ever comes after it.
	Durable pinetree.LSN
	// Commits is the number of transactions up to there.
	Commits uint64
	// Watermarks of the replica that leads.
	Watermarks pinetree.Watermarks
}

// Open takes the volume over from whoever has written to it until now, and
// recovers. It needs a volume of format redo, empty or a store's. The client
// remains the caller's and must stay open until Close.
func Open(ctx context.Context, client *ship.Client, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	cfg.At(Starting)
	// From here on the old compute node can change nothing, whether it knows that
	// or not.
	writer, err := client.OpenWriter(ctx, ship.WriterConfig{RetryFor: cfg.Timeout, Compress: true})
	if err != nil {
		return nil, err
	}
	s := &Store{
		client: client, writer: writer, cfg: cfg, pool: newPool(cfg.PoolPages),
		tail: writer.Durable(), versions: versions{floor: writer.Durable()},
	}
	cfg.At(Opened)
	if err := s.recover(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("recover from %s under compute term %d: %w", s.tail, writer.Term(), err), writer.Close())
	}
	cfg.At(Recovered)
	return s, nil
}

// recover looks at what there is. There is nothing to replay and nothing to undo:
// the storage has replayed the log, and half a transaction was never in it.
func (s *Store) recover(ctx context.Context) error {
	if f := s.writer.Format(); f != pinetree.FormatRedo {
		return fmt.Errorf("%w: the volume's format is %s; make one with --format redo", pinetree.ErrBadBatch, f)
	}
	state, err := s.client.Reader(ship.ReadConfig{MinLSN: s.tail}).State(ctx)
	if err != nil {
		return err
	}
	if state.Term != s.writer.Term() {
		return s.replaced(fmt.Sprintf("compute term %d is open already", state.Term))
	}
	s.cfg.At(Surveyed)
	page, err := s.page(ctx, header)
	if err != nil {
		return err
	}
	if page != nil {
		s.commits = binary.LittleEndian.Uint64(page)
	}
	s.at = Recovery{Term: state.Term, Durable: s.tail, Commits: s.commits, Watermarks: state.Watermarks}
	return nil
}

// Recovery tells what the store found when it was opened.
func (s *Store) Recovery() Recovery { return s.at }

// page returns the newest version of a page, nil for one that was never written.
// The caller holds mu, must not change the page, and is done with it when it lets
// go of mu.
func (s *Store) page(ctx context.Context, page pinetree.PageNo) ([]byte, error) {
	if data, ok := s.pool.get(page); ok {
		return data, nil
	}
	s.cfg.At(Missed)
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	// Any replica will do that has replayed this node's last change of the page:
	// nobody else changes pages. So no read of the writer has to ask the leader.
	want := s.versions.of(page)
	read, err := s.client.Reader(ship.ReadConfig{Level: pinetree.ReadStale, MinLSN: want}).Page(ctx, page)
	switch {
	case errors.Is(err, pinetree.ErrNotFound):
		read.Page = nil
	case err != nil:
		return nil, err
	case read.PageLSN > want:
		return nil, s.replaced(fmt.Sprintf("page %d was changed at %s, and here it was last changed no later than at %s", page, read.PageLSN, want))
	}
	s.cfg.At(Fetched)
	s.keep(page, read.Page)
	return read.Page, nil
}

// keep puts a page into the pool.
func (s *Store) keep(page pinetree.PageNo, data []byte) {
	if s.pool.put(page, data) {
		s.cfg.At(Evicted)
	}
}

// replaced is the error of a store that finds that another one has taken over.
func (s *Store) replaced(why string) error {
	return fmt.Errorf("%w: this compute node has term %d, and %s", pinetree.ErrStaleComputeTerm, s.writer.Term(), why)
}

// Confirm asks the leader whether this store's compute term is still the open one,
// and reports pinetree.ErrStaleComputeTerm when it is not. A compute node that only
// reads is told of its replacement by nobody, so who needs to know that what View
// has shown was the newest when it was shown calls it afterwards.
func (s *Store) Confirm(ctx context.Context) error {
	state, err := s.client.Reader(ship.ReadConfig{}).State(ctx)
	if err != nil {
		return err
	}
	if state.Term != s.writer.Term() {
		return s.replaced(fmt.Sprintf("compute term %d is open", state.Term))
	}
	return nil
}

// Close waits until everything is durable and ends the store.
func (s *Store) Close(ctx context.Context) error {
	if err := s.writer.Flush(ctx); err != nil {
		_ = s.writer.Close() // says the same
		return err
	}
	s.cfg.At(Closing)
	return s.writer.Close()
}
