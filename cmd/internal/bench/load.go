package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

const (
	// sampleEvery is how many records of a stream there are for one that is
	// timed.
	sampleEvery = 32
	// flushTimeout bounds the wait for the last acknowledgements, and that for
	// the replicas to replay everything.
	flushTimeout, catchUpTimeout = time.Minute, 5 * time.Minute
	// asksAtOnce bounds how many questions are put to the cluster at once.
	asksAtOnce = 16
)

// load is what is put on the cluster. It belongs to the goroutine of Run.
type load struct {
	cfg   Config
	ring  [][]byte // payloads, which all lanes share
	lanes []*lane
	// conns are those of all lanes.
	conns ship.Connections
	phase phase
}

// open opens a writer on each volume.
func (l *load) open(ctx context.Context, managers cli.Managers, names []string) error {
	dial, err := managers.TLS.Dial(slog.Default())
	if err != nil {
		return err
	}
	l.lanes = make([]*lane, len(names))
	err = testbed.Each(ctx, len(names), func(ctx context.Context, i int) error {
		at := l.newLane()
		client := ship.Config{Managers: managers.Addresses, Volume: names[i], Dial: dial, Connections: &l.conns, Logger: slog.New(slog.DiscardHandler)}
		if err := at.open(ctx, client, l.cfg.window(), l.cfg.Compress); err != nil {
			return err
		}
		l.lanes[i] = at
		return nil
	})
	if err != nil {
		l.lanes = slices.DeleteFunc(l.lanes, func(l *lane) bool { return l == nil })
		return errors.Join(err, l.close())
	}
	return nil
}

// start runs the load until stop is closed or ctx ends; wait for the group.
// The first part of it that fails calls fail.
func (l *load) start(ctx context.Context, stop <-chan struct{}, fail context.CancelCauseFunc) *sync.WaitGroup {
	var group sync.WaitGroup
	run := func(fn func() error) {
		group.Go(func() {
			if err := fn(); err != nil {
				fail(err)
			}
		})
	}
	switch l.cfg.Mode() {
	case Closed:
		for i := range l.cfg.Workers {
			lane := l.lanes[i%len(l.lanes)]
			run(func() error { return worker(ctx, lane, stop) })
		}
	case Stream:
		for _, lane := range l.lanes {
			run(func() error { return stream(ctx, lane, stop) })
		}
	case Paced:
		run(func() error { return l.pace(ctx, stop) })
	}
	return &group
}

// worker appends one record after the other, each when the one before is
// durable.
func worker(ctx context.Context, l *lane, stop <-chan struct{}) error {
	heard := make(chan struct{}, 1)
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		w := waiting{since: time.Now(), heard: heard}
		if err := l.append(ctx, &w); err != nil {
			return err
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// stream appends as fast as the window lets it.
func stream(ctx context.Context, l *lane, stop <-chan struct{}) error {
	every := max(1, sampleEvery/len(l.together))
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		var timed *waiting
		if i%every == 0 {
			timed = &waiting{since: time.Now()}
		}
		if err := l.append(ctx, timed); err != nil {
			return err
		}
	}
}

// flush waits until everything is acknowledged.
func (l *load) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, lane := range l.lanes {
		group.Go(func() error { return lane.writer.Flush(ctx) })
	}
	return group.Wait()
}

// catchUp waits until every replica has replayed everything.
func (l *load) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(asksAtOnce)
	for _, lane := range l.lanes {
		end := lane.done()
		for _, at := range lane.client.Route().Replicas {
			group.Go(func() error {
				state, err := lane.client.Reader(ship.ReadConfig{Level: pinetree.ReadStale, MinLSN: end, Node: at.Node}).State(ctx)
				if err == nil && state.LSN != end {
					err = fmt.Errorf("it holds more than was written, up to %s; does another writer use the volume?", state.LSN)
				}
				if err != nil {
					return fmt.Errorf("node %d does not hold volume %d up to %s: %w", at.Node, lane.client.Volume(), end, err)
				}
				return nil
			})
		}
	}
	return group.Wait()
}

// failure is the first final error of a writer.
func (l *load) failure() error {
	for _, lane := range l.lanes {
		if err := lane.writer.Err(); err != nil {
			return err
		}
	}
	return nil
}

// records is how many were acknowledged so far.
func (l *load) records() int64 {
	n := int64(0)
	for _, lane := range l.lanes {
		n += lane.acked.Load()
	}
	return n
}

// bytes is how many bytes of payload were acknowledged so far.
func (l *load) bytes() int64 {
	n := int64(0)
	for _, lane := range l.lanes {
		n += lane.bytes.Load()
	}
	return n
}

// resumes is how often shipping began anew.
func (l *load) resumes() uint64 {
	n := uint64(0)
	for _, lane := range l.lanes {
		n += max(lane.writer.Progress().Resumes, 1) - 1
	}
	return n
}

// close ends all writers.
func (l *load) close() error {
	var failed error
	for _, lane := range l.lanes {
		if err := lane.close(); err != nil && failed == nil {
			failed = err
		}
	}
	return errors.Join(failed, l.conns.Close())
}
