package metaclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// defaultProgress is how often a node tells how far a watch is that asked for
	// nothing else.
	defaultProgress = 5 * time.Second
	// defaultGrace is how much later than that it may do so before another replica
	// is asked.
	defaultGrace = 3 * time.Second
)

// MetaWatch calls fn with every change, in the order of the revisions and each
// once, whatever connections break and replicas leave on the way. What fn is given
// holds all changes of its revisions that were asked for; without events it says
// how far the watch is. fn may keep it; its error ends the watch and is passed on
// unchanged. Otherwise the watch ends with ctx.
//
// Reports pinetree.ErrTruncated when the changes to go on with are no longer kept:
// what they led to is then to be read anew.
func (c *Calls) MetaWatch(ctx context.Context, cfg ship.ReadConfig, q *wirepb.MetaWatchRequest, fn func(*wirepb.MetaWatchResponse) error) error {
	w := &watch{calls: c, query: q, fn: fn, at: q.After, progress: time.Duration(q.ProgressMs) * time.Millisecond}
	w.progress = cmp.Or(w.progress, defaultProgress)
	if q.FromNow {
		var err error
		if w.at, err = c.newest(ctx); err != nil {
			return err
		}
		if err := fn(&wirepb.MetaWatchResponse{Revision: w.at}); err != nil { // so that it is known what is new
			return err
		}
	}
	if cfg.Level == pinetree.ReadDefault {
		cfg.Level = pinetree.ReadStale // any replica: each has every change sooner or later
	}
	err := c.client.Reader(cfg).Follow(ctx, w.String, w.read)
	if w.refused != nil {
		return w.refused
	}
	return err
}

// watch is one MetaWatch under way.
type watch struct {
	calls    *Calls
	query    *wirepb.MetaWatchRequest
	fn       func(*wirepb.MetaWatchResponse) error
	at       uint64 // fn has everything up to this revision
	progress time.Duration
	refused  error // fn's
}

// String names the watch, for errors.
func (w *watch) String() string {
	return fmt.Sprintf("watch of metadata %s after revision %d", span(w.query.Key, w.query.End), w.at)
}

// read goes on at one replica until its stream ends.
func (w *watch) read(ctx context.Context, s ship.Stream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A replica that is asked and says nothing may be one that hangs.
	late := time.AfterFunc(w.progress+w.calls.grace, func() {
		cancel(fmt.Errorf("%w: nothing was heard for %s", pinetree.ErrStopped, w.progress+w.calls.grace))
	})
	defer late.Stop()
	stream, err := wirepb.NewMetaClient(s.Conn).MetaWatch(ctx, &wirepb.MetaWatchRequest{
		Volume: w.calls.volume(), Key: w.query.Key, End: w.query.End, After: w.at, ProgressMs: uint32(w.progress.Milliseconds()),
	})
	if err != nil {
		return ended(ctx, err)
	}
	var parts []*wirepb.MetaEvent
	for {
		late.Reset(w.progress + w.calls.grace)
		r, err := stream.Recv()
		late.Stop() // fn may take as long as it likes
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: the node ended the watch", pinetree.ErrStopped)
		case err != nil:
			return ended(ctx, err)
		}
		s.Alive()
		if err := w.check(s, r, parts); err != nil {
			return err
		}
		parts = append(parts, r.Events...)
		if r.More {
			continue
		}
		r.Events, parts = parts, nil
		if w.refused = w.fn(r); w.refused != nil {
			return nil
		}
		w.at = r.Revision
		w.calls.notice(r.Revision)
	}
}

// ended tells why a stream ended: by itself or because it was late.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, pinetree.ErrStopped) {
		return cause
	}
	if errors.Is(err, pinetree.ErrQueueFull) {
		return elsewhere{err}
	}
	return err
}

// elsewhere is a refusal of one node that another one may not have.
type elsewhere struct{ error }

// Is makes ship.Elsewhere true.
func (elsewhere) Is(target error) bool { return target == pinetree.ErrStopped }

// Unwrap gives the refusal.
func (e elsewhere) Unwrap() error { return e.error }

// check refuses what would be a gap or a repetition.
func (w *watch) check(s ship.Stream, r *wirepb.MetaWatchResponse, before []*wirepb.MetaEvent) error {
	last := w.at
	if len(before) > 0 {
		last = before[len(before)-1].GetItem().GetModified()
	}
	for _, e := range r.Events {
		revision := e.GetItem().GetModified()
		if revision < last || revision <= w.at || revision > r.Revision {
			return w.corrupt(s, fmt.Sprintf("a change of revision %d, in an answer that leads to %d, comes after revision %d", revision, r.Revision, last))
		}
		last = revision
	}
	if r.Revision < w.at {
		return w.corrupt(s, fmt.Sprintf("an answer leads back to revision %d", r.Revision))
	}
	return nil
}

func (w *watch) corrupt(s ship.Stream, what string) error {
	return &pinetree.CorruptError{Where: fmt.Sprintf("%s, from node %d", w, s.At.Node), What: what}
}
