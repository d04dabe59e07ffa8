package fanout

import (
	"context"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Query says which part of the log a tail is sent.
type Query struct {
	// From is where it begins: with the batch that has the first record above it.
	From pinetree.LSN
	// Applied is up to where the volume was replayed at some time after the tail was
	// opened. Without Follow the tail ends there; with it, it goes on for ever.
	Applied pinetree.LSN
	Follow  bool
	// Committed sends what is committed before it is replayed here.
	Committed bool
}

// Log reads the engine's log, at least the first batch with a record above an LSN
// if there is one, and in order, until fn returns an error, which it passes on. The
// batch is fn's only during the call. It returns the position of the volume, as of
// after what was read.
type Log func(ctx context.Context, from pinetree.LSN, fn func(pinetree.Batch) error) (pinetree.VolumePosition, error)

// Tail is one reader of a volume's log. It belongs to one goroutine.
type Tail struct {
	replica *Replica
	ring    *ring
	wake    chan *group

	query  Query
	at     pinetree.LSN // everything up to here was sent
	shown  marks        // how far it may see
	called *group       // to be left when it has sent; nil when it was not called
}

// Run sends the part of the log that the query says, each record once but for
// those of the first batch, and in order. It returns when that is done, when ctx
// ends or the replica stops, or with the first error of log or send, and with a
// *pinetree.TruncatedError when what follows is no longer kept. It holds one
// answer at a time, and waits in send as long as that takes.
//
// What a message refers to is shared with other tails: it must not be changed.
func (t *Tail) Run(ctx context.Context, q Query, log Log, send func(*wirepb.OutgoingTail) error) error {
	t.query, t.at = q, q.From
	t.ring.reach(q.Applied)
	defer func() { t.called.leave() }()
	for q.Follow || t.at < q.Applied {
		next, is := t.ring.next(t)
		switch is {
		case ended:
			return t.ring.err
		case current:
			if err := t.wait(ctx); err != nil {
				return err
			}
			continue
		case behind:
			var err error
			if next, err = t.catchUp(ctx, log); err != nil {
				return err
			}
		case ready:
		}
		t.at = next.to
		if next.message == nil {
			continue // an empty log that begins above where the tail did
		}
		if err := send(next.message); err != nil {
			return err
		}
	}
	return nil
}

// wait returns when there may be something more.
func (t *Tail) wait(ctx context.Context) error {
	t.called.leave()
	t.called = nil
	waits, awaited := t.ring.enlist(t)
	if awaited {
		t.ring.hub.crier.announce(t.ring)
	}
	if !waits {
		return nil
	}
	select {
	case t.called = <-t.wake:
		t.shown = t.called.shown
		return nil
	case <-t.ring.gone:
	case <-ctx.Done():
	}
	t.ring.strike(t)
	select {
	case t.called = <-t.wake: // called meanwhile: the crier waits for it
	default:
	}
	return context.Cause(ctx)
}

// Close ends the tail. Run has returned.
func (t *Tail) Close() { t.replica.exit(t.ring) }
