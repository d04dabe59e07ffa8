package load

import (
	"context"
	"sync"
)

// A Pool is a Client of a system whose own client commits some records in one
// call that returns when they are committed.
type Pool struct {
	sink    Sink
	cfg     PoolConfig
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu     sync.Mutex
	change sync.Cond
	queue  []*Record // bounded by what the load has outstanding
	calls  int       // under way
	closed bool
}

// PoolConfig says how records are committed.
type PoolConfig struct {
	Records int // in a call at most
	Bytes   int // of payload in a call at most, unless one record has more
	// Depth is how many calls are under way before what is submitted gathers
	// for a full one; Most is how many are under way at most.
	Depth, Most int
	// Commit commits records. The slice is the Pool's again when it returns.
	Commit func(ctx context.Context, records []*Record) error
	// Close ends what Commit uses; it is called when no call is left.
	Close func() error
}

// NewPool starts a pool.
func NewPool(sink Sink, cfg PoolConfig) *Pool {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Pool{sink: sink, cfg: cfg, cancel: cancel}
	p.change.L = &p.mu
	for range cfg.Most {
		p.workers.Go(func() { p.work(ctx) })
	}
	return p
}

// Submit implements Client.
func (p *Pool) Submit(records []*Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, records...)
	p.change.Signal()
}

func (p *Pool) work(ctx context.Context) {
	batch := make([]*Record, 0, p.cfg.Records)
	for {
		batch = p.take(batch[:0])
		if len(batch) == 0 {
			return
		}
		if err := p.cfg.Commit(ctx, batch); err != nil {
			if ctx.Err() == nil {
				p.sink.Failed(err)
			}
			return
		}
		p.sink.Acked(batch)
		p.mu.Lock()
		p.calls--
		p.mu.Unlock()
	}
}

// take waits for records; it returns none when the pool is closed.
func (p *Pool) take(batch []*Record) []*Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed && (len(p.queue) == 0 || p.calls >= p.cfg.Depth && len(p.queue) < p.cfg.Records) {
		p.change.Wait()
	}
	if p.closed {
		return batch
	}
	p.calls++
	size := 0
	for _, r := range p.queue {
		size += len(r.Payload)
		if len(batch) == p.cfg.Records || len(batch) > 0 && size > p.cfg.Bytes {
			break
		}
		batch = append(batch, r)
	}
	p.queue = p.queue[len(batch):]
	if len(p.queue) > 0 {
		p.change.Signal() // the next one need not wait for a Submit
	}
	return batch
}

// Close implements Client.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.change.Broadcast()
	p.mu.Unlock()
	p.cancel()
	p.workers.Wait()
	return p.cfg.Close()
}
