package ledger

import "fmt"

// watchBatch bounds what a watcher is given at a time.
const watchBatch = 100

// KindMissed is the kind of what a watcher is told in place of events that it
// can not be given any more.
const KindMissed = "missed"

// Watch is how far somebody who follows the events is. It holds nothing else, so
// that who is slow costs nothing; what is dropped before it was asked for is told
// of. It belongs to the owner of the events.
type Watch struct {
	filter Filter
	at     uint64 // events up to this id were given
	whole  uint64 // events after this id are given or told of as missed
}

// Watch begins to follow after an id, or with a page of those that are kept.
func (e *Events) Watch(p Page) *Watch {
	w := &Watch{filter: p.Filter, at: min(p.After, e.written), whole: p.After}
	if p.After != 0 {
		return w
	}
	w.whole = e.written
	if kept := e.Select(p); len(kept) > 0 {
		w.at = kept[0].ID - 1
	} else {
		w.at = e.written
	}
	return w
}

// Next returns the next events, and when there are none a channel that is closed
// when it is time to ask again.
func (e *Events) Next(w *Watch) ([]Event, <-chan struct{}) {
	var found []Event
	for _, event := range e.since(w.at) {
		found = append(found, w.missed(event.ID)...)
		w.at = event.ID
		if w.filter.wants(event) {
			found = append(found, event)
		}
		if len(found) >= watchBatch {
			return found, nil
		}
	}
	return found, e.more
}

// missed tells of the events between the last one that was given and the next.
func (w *Watch) missed(next uint64) []Event {
	first := max(w.at, w.whole) + 1
	if first >= next {
		return nil
	}
	return []Event{{
		ID: next - 1, Kind: KindMissed, Cause: "they were dropped to keep the number of events within its bound",
		Outcome: fmt.Sprintf("events %d to %d are not kept any more", first, next-1),
	}}
}
