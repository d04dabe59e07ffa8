package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
)

// flush writes everything that waits, as the scribe does, and returns what the
// store has then.
func flush(e *Events, stored map[string]bool, room int) {
	for e.waiting() {
		changes, upTo := e.write(room, e.last)
		for _, c := range changes {
			if c.Value == nil {
				delete(stored, c.Key)
			} else {
				stored[c.Key] = true
			}
		}
		e.wrote(upTo)
	}
}

// said is a list of events in short.
func said(list []Event) string {
	var words []string
	for _, e := range list {
		text := fmt.Sprintf("%d %s", e.ID, e.Kind)
		if e.Kind == KindMissed {
			text += " " + e.Outcome
		}
		words = append(words, text)
	}
	return strings.Join(words, "; ")
}

func TestAFloodOfOneKindLeavesTheOthers(t *testing.T) {
	e := NewEvents(nil, 100)
	stored := map[string]bool{}
	for i := range 20 {
		e.Add(Event{Kind: "moved", Group: pinetree.GroupID(i + 1)})
	}
	e.Add(Event{Kind: "node_dead", Node: 2})
	for i := range 5000 {
		e.Add(Event{Kind: "appointed", Group: pinetree.GroupID(i)})
		e.Add(Event{Kind: "activated", Group: pinetree.GroupID(i)})
		if i%7 == 0 {
			flush(&e, stored, 50)
		}
	}
	flush(&e, stored, 50)
	count := map[string]int{}
	for _, k := range e.Select(Page{}) {
		count[k.Kind]++
		if !stored[eventKey(k.ID)] {
			t.Errorf("event %d is not in the store", k.ID)
		}
	}
	if count["moved"] != 20 || count["node_dead"] != 1 || count["appointed"] < 39 || count["activated"] < 39 || len(stored) != 100 {
		t.Errorf("kept %v, %d in the store", count, len(stored))
	}
}

// TestTheStoreNeverHasTooMany: whatever comes, whenever it is written, and
// whenever another manager goes on, with another bound at that.
func TestTheStoreNeverHasTooMany(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		most := 1 + random.IntN(20)
		e, stored, last := NewEvents(nil, most), map[string]bool{}, uint64(0)
		var list []Event
		for range 300 {
			switch random.IntN(6) {
			case 0, 1, 2:
				e.Add(Event{Kind: fmt.Sprint(random.IntN(4))})
			case 3, 4:
				if !e.waiting() {
					continue
				}
				before, room := e.last, random.IntN(10)
				for range random.IntN(1 + room/3) { // what the write decides is told with it
					e.Add(Event{Kind: fmt.Sprint(random.IntN(4))})
				}
				told := slices.DeleteFunc(slices.Clone(e.unwritten), func(k Event) bool { return k.ID <= before })
				changes, upTo := e.write(room, before)
				for _, k := range told {
					if !slices.ContainsFunc(changes, func(c Change) bool { return c.Key == eventKey(k.ID) && c.Value != nil }) {
						t.Fatalf("seed %d: event %d is not written with what it tells of", seed, k.ID)
					}
				}
				for _, c := range changes {
					if c.Value == nil {
						delete(stored, c.Key)
					} else {
						stored[c.Key] = true
					}
				}
				if len(stored) > most {
					t.Fatalf("seed %d: %d events in the store, at most %d", seed, len(stored), most)
				}
				e.wrote(upTo)
				for _, k := range e.Select(Page{}) {
					if !stored[eventKey(k.ID)] {
						t.Fatalf("seed %d: told of event %d, which is not in the store", seed, k.ID)
					}
					last = max(last, k.ID)
				}
			case 5: // another manager
				if random.IntN(10) != 0 {
					continue
				}
				list = nil
				for key := range stored {
					var id uint64
					fmt.Sscanf(strings.TrimPrefix(key, events), "%d", &id)
					list = append(list, Event{ID: id, Kind: fmt.Sprint(id % 4)})
				}
				slices.SortFunc(list, func(a, b Event) int { return int(a.ID) - int(b.ID) })
				e = NewEvents(list, most)
				e.Add(Event{Kind: "manager_active"})
				if e.last <= last {
					t.Fatalf("seed %d: id %d is given again; %d was told", seed, e.last, last)
				}
			}
		}
	}
	e := NewEvents([]Event{{ID: 1, Kind: "a"}, {ID: 2, Kind: "a"}, {ID: 3, Kind: "b"}}, 1)
	stored := map[string]bool{eventKey(1): true, eventKey(2): true, eventKey(3): true}
	flush(&e, stored, 50)
	if len(stored) != 1 || !stored[eventKey(3)] {
		t.Errorf("with a lower bound the store keeps %v", stored)
	}
}

func TestAWatcherIsGivenEverythingOnceOrToldWhatItMissed(t *testing.T) {
	e := NewEvents(nil, 4)
	stored := map[string]bool{}
	add := func(kinds ...string) {
		for _, k := range kinds {
			e.Add(Event{Kind: k})
		}
		flush(&e, stored, 50)
	}
	next := func(w *Watch) string { list, _ := e.Next(w); return said(list) }
	check := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	add("a", "b", "a")
	all, newest, only, later := e.Watch(Page{}), e.Watch(Page{Limit: 1, Newest: true}), e.Watch(Page{Filter: Filter{Kind: "b"}}), e.Watch(Page{After: 2})
	check("what is kept first", next(all), "1 a; 2 b; 3 a")
	check("the newest", next(newest), "3 a")
	check("of one kind", next(only), "2 b")
	check("after one", next(later), "3 a")
	list, more := e.Next(all)
	if len(list) != 0 {
		t.Errorf("again: %v", list)
	}
	e.Add(Event{Kind: "c"})
	select {
	case <-more:
		t.Error("woken before the event was written")
	default:
	}
	check("not written yet", next(all), "")
	flush(&e, stored, 50)
	select {
	case <-more:
	default:
		t.Error("not woken")
	}
	check("the new one", next(all), "4 c")
	add("a", "a", "a", "a", "a", "a") // 9 and 10 are kept beside b and c
	check("who was slow", next(all), "8 missed events 5 to 8 are not kept any more; 9 a; 10 a")
	check("who was slow and wants one kind", next(only), "8 missed events 5 to 8 are not kept any more")
	check("who comes back to a manager", next(e.Watch(Page{After: 3})), "4 c; 8 missed events 5 to 8 are not kept any more; 9 a; 10 a")
	check("who begins anew", next(e.Watch(Page{})), "2 b; 4 c; 9 a; 10 a")
	check("whom a manager told more than the store has", next(e.Watch(Page{After: 99})), "")
	add("d")
	check("after that", next(all), "11 d")
}
