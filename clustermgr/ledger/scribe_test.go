package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// owned is a state with a lock in place of an owner's goroutine, and a scribe.
type owned struct {
	mu     sync.Mutex
	events Events
	scribe Scribe
	cancel context.CancelFunc
	ended  chan error
}

func write(t *testing.T, store Store, most int) *owned {
	t.Helper()
	office, err := store.Campaign(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	o := &owned{events: NewEvents(nil, most), ended: make(chan error, 1)}
	o.scribe = Scribe{
		Store: store, Office: office, Events: &o.events, Timeout: time.Second, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Owner: func(_ context.Context, fn func()) error { o.mu.Lock(); defer o.mu.Unlock(); fn(); return nil },
	}
	o.scribe.Start()
	ctx, cancel := context.WithCancel(context.Background())
	o.cancel = cancel
	go func() { o.ended <- o.scribe.Run(ctx) }()
	t.Cleanup(cancel)
	return o
}

// end is why the scribe ended by itself.
func (o *owned) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-o.ended:
		return err
	case <-time.After(5 * time.Second):
		t.Fatal("the scribe goes on")
		return nil
	}
}

// faulty loses answers, before or after the change, and counts the writes.
type faulty struct {
	*Memory
	mu     sync.Mutex
	before int // writes to refuse
	after  int // answers to lose
	writes int
	slow   time.Duration
}

var errLost = errors.New("lost")

func (f *faulty) Swap(ctx context.Context, o Office, changes []Change) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	time.Sleep(f.slow)
	f.writes++
	if len(changes) > 128 {
		return 0, fmt.Errorf("%d changes: etcd takes 128", len(changes))
	}
	if f.before > 0 {
		f.before--
		return 0, errLost
	}
	revision, err := f.Memory.Swap(ctx, o, changes)
	if err == nil && f.after > 0 {
		f.after--
		return 0, errLost
	}
	return revision, err
}

func TestEveryDecisionSeesTheOneBefore(t *testing.T) {
	store := &faulty{Memory: NewMemory(), before: 3, after: 4, slow: time.Millisecond}
	o := write(t, store, 10)
	var counter Kept[Counters] // under o.mu
	const decisions = 300
	var all sync.WaitGroup
	for i := range decisions {
		all.Go(func() {
			var next Counters
			var volume Volume
			err := o.scribe.Persist(t.Context(), func() (Decision, error) {
				next = counter.Is
				next.Volume++
				volume = Volume{ID: next.Volume, Name: fmt.Sprint(i)}
				return Decide(Event{Kind: volume.Name}, counter.Put(CountersKey, next), Kept[Volume]{}.Put(volume.Key(), volume)), nil
			}, func(revision int64) { counter = Kept[Counters]{next, revision} })
			if err != nil {
				t.Errorf("decision %d: %v", i, err)
			}
		})
	}
	all.Wait()
	b := reopen(t, store)
	if b.Counters.Is.Volume != decisions || len(b.Volumes) != decisions {
		t.Fatalf("counted %d, kept %d volumes of %d", b.Counters.Is.Volume, len(b.Volumes), decisions)
	}
	names := map[string]bool{}
	for i, v := range b.Volumes {
		names[v.Is.Name] = true
		if v.Is.ID != pinetree.VolumeID(i+1) {
			t.Fatalf("volume %d has the id %d", i+1, v.Is.ID)
		}
	}
	if len(names) != decisions {
		t.Fatalf("%d names of %d", len(names), decisions)
	}
}

func reopen(t *testing.T, store Store) Book {
	t.Helper()
	entries, err := store.Read(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(entries)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecisionsOfManyGroupsShareAWrite(t *testing.T) {
	store := &faulty{Memory: NewMemory(), slow: 5 * time.Millisecond}
	o := write(t, store, 10)
	var all sync.WaitGroup
	for i := range 400 {
		all.Go(func() {
			g := Group{ID: pinetree.GroupID(i + 1)}
			err := o.scribe.Persist(t.Context(), func() (Decision, error) { return Decision{Changes: []Change{Kept[Group]{}.Put(g.Key(), g)}}, nil }, func(int64) {})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if kept := len(reopen(t, store).Groups); kept != 400 || store.writes > 100 {
		t.Fatalf("%d groups kept by %d writes", kept, store.writes)
	}
}

func TestAWriteOfSomebodyElseEndsTheScribe(t *testing.T) {
	store := NewMemory()
	o := write(t, store, 10)
	n := Node{ID: 1, Instance: "a"}
	if _, err := store.Swap(t.Context(), o.scribe.Office, []Change{Kept[Node]{}.Put(n.Key(), Node{ID: 1, Instance: "b"})}); err != nil {
		t.Fatal(err)
	}
	err := o.scribe.Persist(t.Context(), func() (Decision, error) { return Decision{Changes: []Change{Kept[Node]{}.Put(n.Key(), n)}}, nil },
		func(int64) { t.Error("committed over another's write") })
	if !errors.Is(err, ErrNotActive) {
		t.Errorf("persist: %v", err)
	}
	if err := o.end(t); !errors.Is(err, ErrConflict) {
		t.Errorf("the scribe ended with %v", err)
	}
}

func TestTheOfficeIsLostWithItsWrites(t *testing.T) {
	store := NewMemory()
	o := write(t, store, 10)
	store.Expire()
	err := o.scribe.Persist(t.Context(), func() (Decision, error) { return Decision{Changes: []Change{{Key: "k", Value: []byte("v")}}}, nil }, func(int64) {})
	if !errors.Is(err, ErrNotActive) {
		t.Errorf("persist: %v", err)
	}
	if err := o.end(t); !errors.Is(err, ErrNotActive) {
		t.Errorf("the scribe ended with %v", err)
	}
	if entries, _ := store.Read(t.Context(), ""); len(entries) != 0 {
		t.Errorf("written without the office: %v", entries)
	}
}

// TestWhoIsToldThatNothingWasWrittenCanRelyOnIt: a write whose answer was lost,
// after which the office ends, may have been made; what came after it was not.
func TestWhoIsToldThatNothingWasWrittenCanRelyOnIt(t *testing.T) {
	store := &deposed{Memory: NewMemory(), entered: make(chan struct{}), leave: make(chan struct{})}
	o := write(t, store, 10)
	decide := func(key string) error {
		return o.scribe.Persist(t.Context(), func() (Decision, error) { return Decision{Changes: []Change{{Key: key, Value: []byte("v")}}}, nil }, func(int64) {})
	}
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- decide("first") }()
	<-store.entered
	go func() { second <- decide("second") }()
	for len(o.scribe.decisions) == 0 {
		time.Sleep(time.Millisecond)
	}
	close(store.leave)
	if err := <-first; !errors.Is(err, ErrInterrupted) {
		t.Errorf("of the write that was made: %v", err)
	}
	if err := <-second; !errors.Is(err, ErrNotActive) {
		t.Errorf("of the one behind it: %v", err)
	}
	if entries, _ := store.Read(t.Context(), ""); len(entries) != 1 || entries[0].Key != "first" {
		t.Errorf("written: %v", entries)
	}
}

// deposed makes one change, loses its answer, and the office with it.
type deposed struct {
	*Memory
	entered, leave chan struct{}
	once           sync.Once
}

func (d *deposed) Swap(ctx context.Context, o Office, changes []Change) (revision int64, err error) {
	err = errLost
	lost := false
	d.once.Do(func() {
		lost = true
		close(d.entered)
		<-d.leave
		if _, swapped := d.Memory.Swap(ctx, o, changes); swapped != nil {
			err = swapped
		}
		d.Expire()
	})
	if lost {
		return 0, err
	}
	return d.Memory.Swap(ctx, o, changes)
}

func TestARefusedDecisionWritesNothing(t *testing.T) {
	store := NewMemory()
	o := write(t, store, 10)
	no := errors.New("no")
	err := o.scribe.Persist(t.Context(), func() (Decision, error) { return Decision{Changes: []Change{{Key: "k", Value: []byte("v")}}}, no }, func(int64) { t.Error("committed") })
	if !errors.Is(err, no) {
		t.Errorf("persist: %v", err)
	}
	if entries, _ := store.Read(t.Context(), ""); len(entries) != 0 {
		t.Errorf("written: %v", entries)
	}
}

func TestEventsAreBoundedAndNumberedOn(t *testing.T) {
	store := NewMemory()
	o := write(t, store, 5)
	add := func(o *owned, from, to int) {
		o.mu.Lock()
		defer o.mu.Unlock()
		for i := from; i <= to; i++ {
			o.events.Add(Event{Kind: fmt.Sprint(i)})
		}
		o.scribe.Wake()
	}
	for i := 1; i <= 8; i++ {
		add(o, i, i)
		waitFor(t, func() bool {
			b := reopen(t, store)
			return len(b.Events) == min(i, 5) && b.Events[len(b.Events)-1].ID == uint64(i)
		})
	}
	o.mu.Lock()
	kinds := func(list []Event) (found []string) {
		for _, e := range list {
			found = append(found, e.Kind)
		}
		return found
	}
	if got := kinds(o.events.Select(Page{})); !slices.Equal(got, []string{"4", "5", "6", "7", "8"}) {
		t.Errorf("all: %v", got)
	}
	if got := kinds(o.events.Select(Page{After: 5, Limit: 2})); !slices.Equal(got, []string{"6", "7"}) {
		t.Errorf("two after 5: %v", got)
	}
	if got := kinds(o.events.Select(Page{Limit: 2, Newest: true})); !slices.Equal(got, []string{"7", "8"}) {
		t.Errorf("the newest two: %v", got)
	}
	if got := o.events.Select(Page{After: 8}); len(got) != 0 {
		t.Errorf("after the last: %v", got)
	}
	o.mu.Unlock()
	store.Expire()
	next := write(t, store, 5)
	next.mu.Lock()
	next.events = NewEvents(reopen(t, store).Events, 5)
	next.mu.Unlock()
	add(next, 9, 9)
	waitFor(t, func() bool {
		next.mu.Lock()
		defer next.mu.Unlock()
		got := next.events.Select(Page{After: 8})
		return len(got) == 1 && got[0].ID == 9
	})
}

// TestABurstOfEventsIsWrittenByItself: with no decision and no event after it.
func TestABurstOfEventsIsWrittenByItself(t *testing.T) {
	store := NewMemory()
	o := write(t, store, 1000)
	o.mu.Lock()
	for range 500 {
		o.events.Add(Event{Kind: "appointed"})
	}
	o.mu.Unlock()
	o.scribe.Wake()
	waitFor(t, func() bool { return len(reopen(t, store).Events) == 500 })
}

func waitFor(t *testing.T, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !check(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come true in 5 s")
		}
	}
}

func TestTheBookComesBackAsItWasWritten(t *testing.T) {
	store := NewMemory()
	office, err := store.Campaign(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	n := Node{ID: 3, Instance: "i", Address: "a:1", Zone: "z"}
	g := Group{ID: 12, Voters: []pinetree.NodeID{1, 2, 3}, HomeZone: "z", Created: true,
		Lease: lease.Record{Appointment: 9, Node: 1, Holder: 2, Held: 8, Term: 4}}
	v := Volume{ID: 7, Name: "pg", Group: 12, Format: pinetree.FormatRedo, Ready: true}
	revision, err := store.Swap(t.Context(), office, []Change{
		Kept[Cluster]{}.Put(ClusterKey, Cluster{ID: "c"}), Kept[Counters]{}.Put(CountersKey, Counters{Node: 3, Group: 12, Volume: 7}),
		Kept[Node]{}.Put(n.Key(), n), Kept[Group]{}.Put(g.Key(), g), Kept[Volume]{}.Put(v.Key(), v),
	})
	if err != nil {
		t.Fatal(err)
	}
	b := reopen(t, store)
	got := fmt.Sprintf("%+v", b)
	want := fmt.Sprintf("%+v", Book{
		Cluster: Kept[Cluster]{Cluster{ID: "c"}, revision}, Counters: Kept[Counters]{Counters{3, 12, 7}, revision},
		Nodes: []Kept[Node]{{n, revision}}, Groups: []Kept[Group]{{g, revision}}, Volumes: []Kept[Volume]{{v, revision}},
	})
	if got != want {
		t.Fatalf("read    %s\nwritten %s", got, want)
	}
	_, err = Open([]Entry{{Key: n.Key(), Value: []byte(`{"id":`)}})
	if !errors.Is(err, pinetree.ErrCorrupt) {
		t.Fatalf("a damaged record: %v", err)
	}
}
