package clustermgr

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// watcher follows the events of a manager.
type watcher struct {
	t      *testing.T
	stream wirepb.Manager_WatchEventsClient
	last   uint64
}

func (c *cluster) watch(ctx context.Context, q *wirepb.ListEventsRequest) *watcher {
	c.t.Helper()
	stream, err := c.client().WatchEvents(ctx, q)
	if err != nil {
		c.t.Fatal(err)
	}
	return &watcher{c.t, stream, q.GetAfter()}
}

// until returns the first event of a kind; every one before it has the next id.
func (w *watcher) until(kind string) *wirepb.Event {
	w.t.Helper()
	for {
		e, err := w.stream.Recv()
		if err != nil {
			w.t.Fatalf("no event %s: %v", kind, err)
		}
		if e.GetId() != w.last+1 {
			w.t.Fatalf("event %d after %d", e.GetId(), w.last)
		}
		w.last = e.GetId()
		if e.GetKind() == kind {
			return e
		}
	}
}

func TestEventsAreFollowedOverAChangeOfManagersWithoutGapOrRepetition(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	w := c.watch(c.context(), &wirepb.ListEventsRequest{})
	w.until("manager_active")
	g := c.createGroup(3)
	if e := w.until("activated"); e.GetGroup() != g.GetGroup() || e.GetCause() == "" || e.GetUnixMs() == 0 {
		t.Errorf("the activation: %v", e)
	}
	c.managers[0].end()
	for {
		e, err := w.stream.Recv()
		if err != nil {
			if !errors.Is(err, pinetree.ErrNotLeader) {
				t.Errorf("the stream of a manager that stops ends with %v", err)
			}
			break
		}
		w.last = e.GetId()
	}
	c.manager(1)
	c.awaitLeader(g.GetGroup(), 0) // it is active
	w = c.watch(c.context(), &wirepb.ListEventsRequest{After: w.last})
	if e := w.until("manager_active"); e.GetOutcome() == "" {
		t.Errorf("the next manager: %v", e)
	}
}

func TestWatchersAreBoundedAndGiveTheirPlacesBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory())
	ctx, cancel := context.WithCancel(c.context())
	for range 100 {
		c.watch(ctx, &wirepb.ListEventsRequest{}).until("manager_active")
	}
	refused := func() bool {
		stream, err := c.client().WatchEvents(c.context(), &wirepb.ListEventsRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		return errors.Is(err, pinetree.ErrQueueFull)
	}
	if !refused() {
		t.Error("one more than there are places for is let in")
	}
	cancel()
	c.eventually("a place is free", func() bool { return !refused() })
}

func TestEventsCanBeNarrowedDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	first, second := c.createGroup(3), c.createGroup(3)
	c.awaitLeader(first.GetGroup(), 0)
	c.awaitLeader(second.GetGroup(), 0)
	list := func(q *wirepb.ListEventsRequest) []*wirepb.Event {
		r, err := c.client().ListEvents(c.context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return r.GetEvents()
	}
	for _, e := range list(&wirepb.ListEventsRequest{Group: second.GetGroup()}) {
		if e.GetGroup() != second.GetGroup() {
			t.Errorf("of group %d: %v", second.GetGroup(), e)
		}
	}
	c.eventually("both activations are kept", func() bool { return len(list(&wirepb.ListEventsRequest{Kind: "activated"})) == 2 })
	all := list(&wirepb.ListEventsRequest{})
	newest := list(&wirepb.ListEventsRequest{Limit: 1, Newest: true, Kind: "activated"})
	if len(newest) != 1 || newest[0].GetGroup() != second.GetGroup() {
		t.Errorf("the newest activation: %v", newest)
	}
	if oldest := list(&wirepb.ListEventsRequest{Limit: 1}); len(oldest) != 1 || oldest[0].GetId() != all[0].GetId() {
		t.Errorf("the oldest: %v", oldest)
	}
}

func TestAGroupWithoutQuorumSaysWhomItMisses(t *testing.T) {
	t.Parallel()
	c := newCluster(t, ledger.NewMemory(), "a", "b", "c")
	g := c.createGroup(3)
	c.awaitLeader(g.GetGroup(), 0)
	if words := strings.Join(c.group(g.GetGroup()).GetWords(), "; "); !strings.Contains(words, "quorum: 3 of 3 replicas answer") || !strings.Contains(words, "holds the lease for another") {
		t.Errorf("while all is well: %s", words)
	}
	c.nodes[0].kill()
	c.nodes[1].kill()
	c.eventually("the group says what it misses", func() bool {
		words := strings.Join(c.group(g.GetGroup()).GetWords(), "; ")
		return strings.Contains(words, "no quorum: 1 of 3 replicas answer, and 2 are needed: node 1 refuses connections")
	})
	notDone := func() []*wirepb.Event {
		list, err := c.client().ListEvents(c.context(), &wirepb.ListEventsRequest{Kind: "not_done"})
		if err != nil {
			t.Fatal(err)
		}
		return list.GetEvents()
	}
	c.eventually("what could not be done is an event", func() bool { return len(notDone()) > 0 })
	time.Sleep(500 * time.Millisecond) // for some more tries
	if list := notDone(); len(list) != 1 || !strings.Contains(list[0].GetOutcome(), "1 of 3 replicas answered") {
		t.Errorf("what could not be done is told as %v", list)
	}
	list, err := c.client().ListEvents(c.context(), &wirepb.ListEventsRequest{Kind: "appointed"})
	if err != nil || len(list.GetEvents()) == 0 || !strings.Contains(list.GetEvents()[0].GetInputs(), "node 1 ends at (") {
		t.Errorf("the appointment: %v, %v", list, err)
	}
}
