package reign

import (
	"context"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// maxWatchers bounds those who follow the events at once.
const maxWatchers = 100

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
func (r *Reign) ListEvents(ctx context.Context, q *wirepb.ListEventsRequest) (*wirepb.ListEventsResponse, error) {
	return list(ctx, r, func() (*wirepb.ListEventsResponse, error) {
		answer := &wirepb.ListEventsResponse{}
		for _, e := range r.owner.Events().Select(pageOf(q)) {
			answer.Events = append(answer.Events, eventInfo(e))
		}
		return answer, nil
	})
}

// WatchEvents streams events until the watcher goes or the reign ends. Who does
// not keep up holds up nobody, and is told what was dropped before it came to it.
func (r *Reign) WatchEvents(q *wirepb.ListEventsRequest, stream grpc.ServerStreamingServer[wirepb.Event]) error {
	ctx := stream.Context()
	if r.watchers.Add(1) > maxWatchers {
		r.watchers.Add(-1)
		return refuse(pinetree.ErrQueueFull, "%d watchers follow the events already; list them instead", maxWatchers)
	}
	defer r.watchers.Add(-1)
	var w *ledger.Watch
	if err := r.do(ctx, func() { w = r.owner.Events().Watch(pageOf(q)) }); err != nil {
		return err
	}
	for {
		var found []ledger.Event
		var more <-chan struct{}
		if err := r.do(ctx, func() { found, more = r.owner.Events().Next(w) }); err != nil {
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
		case <-r.ctx.Done():
			return NotActive("")
		}
	}
}
