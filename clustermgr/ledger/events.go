package ledger

import (
	"fmt"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
)

// Event is a decision or an observation, with its reason.
type Event struct {
	ID          uint64                 `json:"id"`
	UnixMilli   int64                  `json:"unix_ms"`
	Kind        string                 `json:"kind"`
	Group       pinetree.GroupID       `json:"group,omitempty"`
	Node        pinetree.NodeID        `json:"node,omitempty"`
	Appointment pinetree.AppointmentID `json:"appointment,omitempty"`
	Cause       string                 `json:"cause,omitempty"`
	Outcome     string                 `json:"outcome,omitempty"`
}

func eventKey(id uint64) string { return fmt.Sprintf("%s%020d", events, id) }

// Events are the newest events, as many as are kept, and those that the store
// does not have yet. They belong to whoever owns the reign.
type Events struct {
	most      int
	list      []Event // newest last
	unwritten []Event // the last ones of list
}

// NewEvents goes on after those that the store has, oldest first.
func NewEvents(stored []Event, most int) Events {
	return Events{most: most, list: keepLast(slices.Clone(stored), most)}
}

// Add numbers an event and keeps it.
func (e *Events) Add(event Event) {
	event.ID = 1
	if n := len(e.list); n > 0 {
		event.ID = e.list[n-1].ID + 1
	}
	event.UnixMilli = time.Now().UnixMilli()
	e.list = keepLast(append(e.list, event), e.most)
	e.unwritten = keepLast(append(e.unwritten, event), e.most)
}

// After returns a copy of the events with an id above after, oldest first; at
// most limit, if that is not zero.
func (e *Events) After(after uint64, limit uint32) []Event {
	at := slices.IndexFunc(e.list, func(e Event) bool { return e.ID > after })
	if at < 0 {
		return nil
	}
	found := e.list[at:]
	if limit > 0 && len(found) > int(limit) {
		found = found[:limit]
	}
	return slices.Clone(found)
}

// write takes events that are not written yet, as changes that also remove as
// many old ones: at most room changes.
func (e *Events) write(room int) []Change {
	var changes []Change
	for len(e.unwritten) > 0 && len(changes)+2 <= room {
		event := e.unwritten[0]
		e.unwritten = e.unwritten[1:]
		changes = append(changes, Change{Key: eventKey(event.ID), Value: encode(event)})
		if most := uint64(e.most); event.ID > most {
			changes = append(changes, Change{Key: eventKey(event.ID - most), Expect: AnyRevision})
		}
	}
	return changes
}

func keepLast[T any](list []T, most int) []T {
	if len(list) <= most {
		return list
	}
	return append(list[:0], list[len(list)-most:]...)
}
