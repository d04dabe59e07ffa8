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
	// Inputs are what a decision went by.
	Inputs  string `json:"inputs,omitempty"`
	Outcome string `json:"outcome,omitempty"`
}

func eventKey(id uint64) string { return fmt.Sprintf("%s%020d", events, id) }

// Events are the events that are kept, and what of them the store does not have
// yet. When there is no room for one more, the kind that has the most loses its
// oldest, so that a flood of one kind does not push the others out. They belong
// to whoever owns the reign.
//
// Invariants:
//
//	ids rise, and none is given to two events that anybody was told of
//	list has at most as many as are kept, and so has the store
//	unwritten are of list, in its order; removed are in the store and not in list
type Events struct {
	most      int
	last      uint64 // id of the newest event
	written   uint64 // events up to this id are in the store, or were dropped
	list      []Event
	kinds     map[string]int // how many of list
	unwritten []Event
	removed   []uint64
	more      chan struct{} // closed when written rises
}

// NewEvents goes on after those that the store has, oldest first.
func NewEvents(stored []Event, most int) Events {
	e := Events{most: max(most, 1), kinds: map[string]int{}, more: make(chan struct{})}
	for _, event := range stored {
		e.last, e.written = event.ID, event.ID
		e.keep(event)
	}
	return e
}

// Add numbers an event and keeps it. Nobody is told of it before it is written.
func (e *Events) Add(event Event) {
	e.last++
	event.ID, event.UnixMilli = e.last, time.Now().UnixMilli()
	e.unwritten = append(e.unwritten, event)
	e.keep(event)
}

// keep appends an event, and drops one when there are too many.
func (e *Events) keep(event Event) {
	e.list = append(e.list, event)
	e.kinds[event.Kind]++
	if len(e.list) <= e.most {
		return
	}
	most := 0
	for _, n := range e.kinds {
		most = max(most, n)
	}
	at := slices.IndexFunc(e.list, func(k Event) bool { return e.kinds[k.Kind] == most })
	out := e.list[at]
	e.list = slices.Delete(e.list, at, at+1)
	e.kinds[out.Kind]--
	if u := slices.IndexFunc(e.unwritten, func(k Event) bool { return k.ID == out.ID }); u >= 0 {
		e.unwritten = slices.Delete(e.unwritten, u, u+1)
		return
	}
	e.removed = append(e.removed, out.ID)
}

// Filter says which events are wanted; a zero field asks nothing.
type Filter struct {
	Group pinetree.GroupID
	Node  pinetree.NodeID
	Kind  string
}

func (f Filter) wants(e Event) bool {
	return (f.Group == 0 || f.Group == e.Group) && (f.Node == 0 || f.Node == e.Node) && (f.Kind == "" || f.Kind == e.Kind)
}

// Page says which part of the events is wanted.
type Page struct {
	Filter
	After  uint64 // an id; later events are wanted
	Limit  int    // zero is all
	Newest bool   // the last ones, when there are more than the limit; else the first
}

// Select returns a copy of the written events of a page, oldest first.
func (e *Events) Select(p Page) []Event {
	var found []Event
	for _, event := range e.since(p.After) {
		if p.wants(event) {
			found = append(found, event)
			if !p.Newest && len(found) == p.Limit {
				break
			}
		}
	}
	if p.Limit > 0 && len(found) > p.Limit {
		found = found[len(found)-p.Limit:]
	}
	return found
}

// since are the written events after an id.
func (e *Events) since(id uint64) []Event {
	after := func(id uint64) int {
		at, _ := slices.BinarySearchFunc(e.list, id, func(k Event, id uint64) int {
			if k.ID <= id {
				return -1
			}
			return 1
		})
		return at
	}
	return e.list[min(after(id), after(e.written)):after(e.written)]
}

// write takes what is not written yet, as at most room changes, and returns the
// id that wrote is to be called with. Events after the one named told tell of what
// the same write decides, and all of them go with it; of the others, the oldest do
// for which there is room. No more is put than removed while there is anything to
// remove, so that the store never has too many; and while there is anything to
// put, something is, so that the store always has the highest id.
func (e *Events) write(room int, told uint64) (changes []Change, upTo uint64) {
	others := slices.IndexFunc(e.unwritten, func(k Event) bool { return k.ID > told })
	if others < 0 {
		others = len(e.unwritten)
	}
	going := e.unwritten[others:]
	room -= len(going)
	puts := min(others, max(0, room-len(going))/2)
	if puts+len(going) > 0 || others == 0 {
		removals := max(0, min(len(e.removed), room-puts))
		for _, id := range e.removed[:removals] {
			changes = append(changes, Change{Key: eventKey(id), Expect: AnyRevision})
		}
		e.removed = slices.Delete(e.removed, 0, removals)
	}
	for _, event := range slices.Concat(e.unwritten[:puts], going) {
		changes = append(changes, Change{Key: eventKey(event.ID), Value: encode(event)})
	}
	e.unwritten = slices.Clone(e.unwritten[puts:others])
	if len(e.unwritten) > 0 {
		return changes, e.unwritten[0].ID - 1
	}
	return changes, e.last
}

// waiting tells whether there is anything to write.
func (e *Events) waiting() bool { return len(e.unwritten)+len(e.removed) > 0 }

// wrote takes note that the store has what write returned.
func (e *Events) wrote(upTo uint64) {
	if upTo > e.written {
		e.written = upTo
		close(e.more)
		e.more = make(chan struct{})
	}
}
