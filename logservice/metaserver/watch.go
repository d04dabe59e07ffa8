package metaserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// maxWatchBytes is about how much one answer of a watch carries.
	maxWatchBytes = 1 << 20
	// A watch takes so many changes, or bytes, out of the history at a time: what it
	// has in memory while a slow client reads.
	maxWatchChanges, maxWatchTake = 1_000, 4 << 20
	// defaultProgress is how often a watch tells how far it is when nothing else is
	// asked for; minProgress bounds what can be asked for.
	defaultProgress, minProgress = 10 * time.Second, 100 * time.Millisecond
	// minProof is how long a replica may take, at least, to hear from a quorum that it
	// is not behind.
	minProof = time.Second
	// unsaid is over how many revisions of no interest a watch goes before it tells
	// how far it is.
	unsaid = 1_000
)

// MetaWatch implements wirepb.MetaServer. Nothing is buffered for a watch: it is a
// position in the history of the table, which it reads again whenever there is
// more. One that is so slow that its next change is compacted ends with
// pinetree.ErrTruncated.
func (s *Service) MetaWatch(q *wirepb.MetaWatchRequest, stream wirepb.Meta_MetaWatchServer) error {
	span := meta.Span{Key: q.Key, End: q.End}
	if err := span.Check(); err != nil {
		return err
	}
	defer s.watches.Add(-1)
	if n := s.watches.Add(1); n > int64(s.cfg.MaxWatches) {
		return fmt.Errorf("%w: this node serves %d watches of metadata, its limit; watch at another replica or end some", pinetree.ErrQueueFull, s.cfg.MaxWatches)
	}
	id := pinetree.VolumeID(q.Volume)
	g, err := s.cfg.Host.Volume(id)
	if err != nil {
		return err
	}
	w := &watch{group: g, volume: id, span: span, stream: stream, at: pinetree.MetaRevision(q.After), every: time.Duration(q.ProgressMs) * time.Millisecond}
	if w.every == 0 {
		w.every = defaultProgress
	}
	w.every = max(w.every, minProgress)
	return w.run(stream.Context(), q)
}

// watch is one client that follows a volume's metadata.
type watch struct {
	group  *host.Group
	volume pinetree.VolumeID
	span   meta.Span
	stream wirepb.Meta_MetaWatchServer
	every  time.Duration

	at   pinetree.MetaRevision // everything up to here was sent, or is of no interest
	told pinetree.MetaRevision // the client knows that
	due  time.Time             // when it is to hear of the watch, at the latest
}

func (w *watch) run(ctx context.Context, q *wirepb.MetaWatchRequest) error {
	_, err := w.read(ctx, 0, func(t *meta.Table) error {
		switch {
		case q.FromNow:
			w.at = t.Revision()
		case w.at == 0:
			w.at = t.Compacted()
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.told, w.due = w.at, time.Now().Add(w.every)
	if q.FromNow { // so that the client knows where to go on elsewhere
		if err := w.tell(); err != nil {
			return err
		}
	}
	for {
		if err := w.catchUp(ctx); err != nil {
			return err
		}
		next := w.wait
		if !time.Now().Before(w.due) {
			next = w.notice
		}
		if err := next(ctx); err != nil {
			return err
		}
	}
}

// read looks at the newest table, at one that misses nothing acknowledged longer
// ago than a bound when there is one.
func (w *watch) read(ctx context.Context, bound time.Duration, fn func(*meta.Table) error) (host.Answer, error) {
	return w.group.ReadMeta(ctx, host.ReadRequest{Volume: w.volume, Level: pinetree.ReadStale, MaxStale: bound}, fn)
}

// catchUp sends what the history has beyond the watch.
func (w *watch) catchUp(ctx context.Context) error {
	for {
		var changes []meta.Change
		var through pinetree.MetaRevision
		_, err := w.read(ctx, 0, func(t *meta.Table) (err error) {
			changes, through, err = t.Since(w.at, maxWatchChanges)
			changes, through = clip(changes, through)
			return err
		})
		if err != nil {
			return err
		}
		if through <= w.at {
			return nil
		}
		if err := w.send(changes, through); err != nil {
			return err
		}
	}
}

// clip shortens a list of whole revisions to those that fit into maxWatchTake, at
// least one.
func clip(changes []meta.Change, through pinetree.MetaRevision) ([]meta.Change, pinetree.MetaRevision) {
	size := int64(0)
	for n, c := range changes {
		if n > 0 && c.Modified != changes[n-1].Modified && size > maxWatchTake {
			return changes[:n:n], changes[n-1].Modified
		}
		size += c.Bytes()
	}
	return changes, through
}

// send sends those changes that are asked for, of whole revisions.
func (w *watch) send(changes []meta.Change, through pinetree.MetaRevision) error {
	answer, size := &wirepb.MetaWatchResponse{}, int64(0)
	flush := func(more bool, upTo pinetree.MetaRevision) error {
		if len(answer.Events) == 0 {
			return nil
		}
		answer.More, answer.Revision = more, uint64(upTo)
		err := w.answer(answer)
		answer, size = &wirepb.MetaWatchResponse{}, 0
		return err
	}
	for len(changes) > 0 {
		revision, n, bytes := w.revision(changes)
		if size+bytes > maxWatchBytes { // it begins in an answer of its own
			if err := flush(false, revision-1); err != nil {
				return err
			}
		}
		for _, c := range changes[:n] {
			if !w.span.Contains(c.Key) {
				continue
			}
			if size > 0 && size+c.Bytes() > maxWatchBytes {
				if err := flush(true, revision); err != nil {
					return err
				}
			}
			size += c.Bytes()
			answer.Events = append(answer.Events, &wirepb.MetaEvent{Deleted: c.Deleted, Item: itemToWire(c.Item)})
		}
		changes = changes[n:]
	}
	err := flush(false, through)
	w.at = through
	if err == nil && w.at-w.told >= unsaid {
		return w.tell()
	}
	return err
}

// revision is the first one of the list, the number of its changes, and how many
// bytes those have that are asked for.
func (w *watch) revision(changes []meta.Change) (is pinetree.MetaRevision, n int, bytes int64) {
	is = changes[0].Modified
	for _, c := range changes {
		if c.Modified != is {
			break
		}
		n++
		if w.span.Contains(c.Key) {
			bytes += c.Bytes()
		}
	}
	return is, n, bytes
}

// wait returns when there is more to send, or a notice is due.
func (w *watch) wait(ctx context.Context) error {
	patience, cancel := context.WithDeadline(ctx, w.due)
	defer cancel()
	_, err := w.group.FollowMeta(patience, w.volume, w.at)
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// notice proves that the watch is not behind for want of hearing of changes, and
// tells the client how far it is.
func (w *watch) notice(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, max(w.every, minProof))
	defer cancel()
	_, err := w.read(soon, w.every, func(t *meta.Table) error {
		if t.Revision() < w.at { // what the client knew of when it came is in the table by now
			return badRequest("the metadata of volume %d has no revision %d; the newest is %d", w.volume, w.at, t.Revision())
		}
		return nil
	})
	if err == nil {
		err = w.catchUp(ctx)
	}
	if err != nil || time.Now().Before(w.due) {
		return err
	}
	return w.tell()
}

// tell is a progress notice.
func (w *watch) tell() error { return w.answer(&wirepb.MetaWatchResponse{Revision: uint64(w.at)}) }

func (w *watch) answer(r *wirepb.MetaWatchResponse) error {
	err := w.stream.Send(r)
	w.told, w.due = pinetree.MetaRevision(r.Revision), time.Now().Add(w.every)
	return err
}
