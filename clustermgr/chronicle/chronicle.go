// Package chronicle tells callers of the events that an active manager keeps: a
// list of them, or one after the other as they are made. It makes none and keeps
// none.
package chronicle

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/owner"
	"github.com/pinetree-db/pinetree/clustermgr/refusal"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// maxWatchers bounds those who follow the events at once.
const maxWatchers = 100

// Chronicle tells of an owner's events. Its methods may be called concurrently.
type Chronicle struct {
	owner    *owner.Owner
	watchers *atomic.Int32
}

// Of makes the chronicle of an owner.
func Of(o *owner.Owner) Chronicle { return Chronicle{o, &atomic.Int32{}} }

func pageOf(q *wirepb.ListEventsRequest) ledger.Page {
	return ledger.Page{
		Filter: ledger.Filter{Group: pinetree.GroupID(q.GetGroup()), Node: pinetree.NodeID(q.GetNode()), Kind: q.GetKind()},
		After:  q.GetAfter(), Limit: int(q.GetLimit()), Newest: q.GetNewest(),
	}
}

func eventInfo(e ledger.Event) *wirepb.Event {
	return &wirepb.Event{
		Id: e.ID, UnixMs: e.UnixMilli, Kind: e.Kind, Group: uint64(e.Group), Node: uint64(e.Node),
		Appointment: uint64(e.Appointment), Cause: e.Cause, Inputs: e.Inputs, Outcome: e.Outcome,
	}
}

// ListEvents returns events that are kept, oldest first.
func (c Chronicle) ListEvents(ctx context.Context, q *wirepb.ListEventsRequest) (*wirepb.ListEventsResponse, error) {
	var found []ledger.Event
	if err := c.owner.Do(ctx, func() { found = c.owner.Events().Select(pageOf(q)) }); err != nil {
		return nil, err
	}
	answer := &wirepb.ListEventsResponse{}
	for _, e := range found {
		answer.Events = append(answer.Events, eventInfo(e))
	}
	return answer, nil
}

// WatchEvents streams events until the watcher goes or the owner ends. Who does
// not keep up holds up nobody, and is told what was dropped before it came to it.
func (c Chronicle) WatchEvents(q *wirepb.ListEventsRequest, stream grpc.ServerStreamingServer[wirepb.Event]) error {
	ctx := stream.Context()
	if c.watchers.Add(1) > maxWatchers {
		c.watchers.Add(-1)
		return refusal.As(pinetree.ErrQueueFull, "%d watchers follow the events already; list them instead", maxWatchers)
	}
	defer c.watchers.Add(-1)
	var w *ledger.Watch
	if err := c.owner.Do(ctx, func() { w = c.owner.Events().Watch(pageOf(q)) }); err != nil {
		return err
	}
	for {
		var found []ledger.Event
		var more <-chan struct{}
		if err := c.owner.Do(ctx, func() { found, more = c.owner.Events().Next(w) }); err != nil {
			return err
		}
		for _, e := range found {
			if err := stream.Send(eventInfo(e)); err != nil {
				return err
			}
		}
		if len(found) > 0 {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.owner.Context().Done():
			return refusal.NotActive("")
		}
	}
}
