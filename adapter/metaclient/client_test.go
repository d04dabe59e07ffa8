package metaclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func key(name string) meta.Span { return meta.Span{Key: []byte(name)} }

// TestATransactionIsCarriedOutOnceHoweverOftenItIsSent: half of the answers are
// lost, before or after the transaction, and leaders change.
func TestATransactionIsCarriedOutOnceHoweverOftenItIsSent(t *testing.T) {
	w := startWorld(t)
	w.lose = 25
	c := New(w.client(t), ship.ReadConfig{})
	var wait sync.WaitGroup
	for client := range 4 {
		wait.Go(func() {
			for n := range 50 {
				if _, err := c.Put(within(t, 5*time.Second), fmt.Append(nil, "key", client), fmt.Append(nil, n)); err != nil {
					t.Error(err)
				}
				if n%20 == 0 {
					w.set(func() { w.leader = client % 3 })
				}
			}
		})
	}
	wait.Wait()
	read, err := w.newest().Range(meta.RangeSpec{Span: Prefix([]byte("key"))})
	if err != nil || len(read.Items) != 4 {
		t.Fatal(read, err)
	}
	for _, item := range read.Items {
		if item.Version != 50 {
			t.Errorf("%s was put %d times by 50 transactions", item.Key, item.Version)
		}
	}
}

// TestATransactionThatMayBeForgottenIsSentAnewOnlyWhenItIsTheFirst: a client that
// has heard nothing for long learns a newer revision; one whose answer was lost
// that long ago is told that nobody knows.
func TestATransactionThatMayBeForgottenIsSentAnewOnlyWhenItIsTheFirst(t *testing.T) {
	w := startWorld(t)
	c := New(w.client(t), ship.ReadConfig{})
	others := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for n := range meta.MaxMemories + 1 {
			if _, err := w.carryOut(meta.Txn{ID: fmt.Append(nil, "other", w.index), Then: []meta.Op{{Kind: meta.OpPut, Span: key("other"), Value: fmt.Append(nil, n)}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := c.Put(within(t, time.Second), []byte("a"), nil); err != nil {
		t.Fatal(err)
	}
	others()
	if at, err := c.Put(within(t, time.Second), []byte("a"), nil); err != nil || at != meta.MaxMemories+3 {
		t.Fatalf("after a long silence: revision %d, %v", at, err)
	}
	x := meta.Txn{ID: []byte("named"), Since: w.newest().Revision(), Then: []meta.Op{{Kind: meta.OpPut, Span: key("b")}}}
	if _, err := c.Txn(within(t, time.Second), x); err != nil {
		t.Fatal(err)
	}
	others()
	if _, err := c.Txn(within(t, time.Second), x); !errors.Is(err, pinetree.ErrTruncated) {
		t.Fatalf("the same again, after %d others: %v", meta.MaxMemories+1, err)
	}
}

// TestAWatchGoesOnElsewhereWithoutGapOrRepetition: streams break all the time, and
// replicas are behind.
func TestAWatchGoesOnElsewhereWithoutGapOrRepetition(t *testing.T) {
	w := startWorld(t)
	c := New(w.client(t), ship.ReadConfig{})
	const revisions = 150
	ctx, enough := context.WithCancel(within(t, 10*time.Second))
	defer enough()
	var seen []string
	began := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		err := c.Watch(ctx, WatchSpec{Span: Prefix([]byte("k")), FromNow: true, Progress: 100 * time.Millisecond}, func(s Step) error {
			if seen == nil {
				close(began)
				seen = []string{}
			}
			for _, change := range s.Changes {
				seen = append(seen, fmt.Sprintf("%d %s", change.Modified, change.Value))
			}
			if s.Revision == revisions {
				enough()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-began
	w.set(func() { w.lose = 5 })
	for n := range revisions {
		w.set(func() {
			if _, err := w.carryOut(meta.Txn{Then: []meta.Op{{Kind: meta.OpPut, Span: key("k"), Value: fmt.Append(nil, n)}}}); err != nil {
				t.Error(err)
			}
			node := w.nodes[w.random.IntN(3)]
			if node.behind = w.random.IntN(8); n > revisions-10 {
				node.behind = 0
			}
		})
		time.Sleep(2 * time.Millisecond)
	}
	for _, node := range w.nodes {
		w.set(func() { node.behind = 0 })
	}
	wait.Wait()
	var want []string
	for n := range revisions {
		want = append(want, fmt.Sprintf("%d %d", n+1, n))
	}
	if !slices.Equal(seen, want) {
		t.Errorf("%d changes of %d: %v", len(seen), revisions, seen)
	}
}

// TestAWatchRefusesWhatCannotBe: gaps cannot be seen in what a node sends, steps
// back can.
func TestAWatchRefusesWhatCannotBe(t *testing.T) {
	for what, spoil := range map[string]func(*wirepb.MetaWatchResponse){
		"a repetition": func(r *wirepb.MetaWatchResponse) { r.Events[0].Item.Modified = 1 },
		"a step back":  func(r *wirepb.MetaWatchResponse) { r.Revision = 1 },
		"the wrong order": func(r *wirepb.MetaWatchResponse) {
			r.Events = append(r.Events, &wirepb.MetaEvent{Item: &wirepb.MetaItem{Modified: 2}})
		},
		"what is to come": func(r *wirepb.MetaWatchResponse) { r.Events[0].Item.Modified = r.Revision + 1 },
	} {
		w := startWorld(t)
		for range 4 {
			if _, err := w.carryOut(meta.Txn{Then: []meta.Op{{Kind: meta.OpPut, Span: key("k")}}}); err != nil {
				t.Fatal(err)
			}
		}
		w.spoil = func(r *wirepb.MetaWatchResponse) {
			if r.Revision == 4 && len(r.Events) > 0 {
				spoil(r)
			}
		}
		last := pinetree.MetaRevision(0)
		err := New(w.client(t), ship.ReadConfig{}).Watch(within(t, 2*time.Second), WatchSpec{Span: key("k"), After: 2}, func(s Step) error {
			last = s.Revision
			return nil
		})
		if !errors.Is(err, pinetree.ErrCorrupt) || last != 3 {
			t.Errorf("%s, after revision %d: %v", what, last, err)
		}
	}
}

// TestAWatchLeavesAReplicaThatSaysNothing goes elsewhere when notices stay away.
func TestAWatchLeavesAReplicaThatSaysNothing(t *testing.T) {
	w := startWorld(t)
	c := New(w.client(t), ship.ReadConfig{})
	c.calls.grace = 50 * time.Millisecond
	steps, first := 0, 0
	errEnough := errors.New("enough")
	err := c.Watch(within(t, 3*time.Second), WatchSpec{Span: key("k"), FromNow: true, Progress: 50 * time.Millisecond}, func(Step) error {
		steps++
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case steps == 3:
			first, w.hang = w.spoke, w.spoke
		case steps > 5 && w.spoke != first:
			return errEnough
		}
		return nil
	})
	if err != errEnough {
		t.Errorf("after %d steps: %v", steps, err)
	}
}

// TestARangeOfManyPagesIsOneState: what is written between its pages is not in it.
func TestARangeOfManyPagesIsOneState(t *testing.T) {
	w := startWorld(t)
	c := New(w.client(t), ship.ReadConfig{})
	for n := range 9 {
		if _, err := c.Put(within(t, time.Second), fmt.Append(nil, "k", n), []byte("old")); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, 5*time.Second)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := c.Put(ctx, fmt.Append(nil, "k", n%9), fmt.Append(nil, n)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 20 {
		read, err := c.Range(ctx, meta.RangeSpec{Span: Prefix([]byte("k"))})
		if err != nil || len(read.Items) != 9 {
			t.Fatalf("%d items, %v", len(read.Items), err)
		}
		for _, item := range read.Items {
			if item.Modified > read.Revision {
				t.Fatalf("a state of revision %d has an item of %d", read.Revision, item.Modified)
			}
		}
	}
	close(stop)
	wait.Wait()
	if read, err := c.Range(ctx, meta.RangeSpec{Span: Prefix([]byte("k")), Limit: 5}); err != nil || len(read.Items) != 5 || !read.More {
		t.Errorf("five of nine: %d, more %t, %v", len(read.Items), read.More, err)
	}
}

func TestAPrefixSpansTheKeysThatBeginSo(t *testing.T) {
	for prefix, keys := range map[string][2]string{"a": {"a", "b"}, "a\xff": {"a\xff\xff", "b"}, "\xff": {"\xff\x00", "\xfe"}, "": {"a", ""}} {
		span := Prefix([]byte(prefix))
		if !span.Contains([]byte(keys[0])) || keys[1] != "" && span.Contains([]byte(keys[1])) {
			t.Errorf("prefix %q is %q", prefix, span)
		}
	}
}
