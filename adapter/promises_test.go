package adapter

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
)

// TestEveryShortHistoryKeepsThePromises walks all states that a world reaches
// within a few actions.
func TestEveryShortHistoryKeepsThePromises(t *testing.T) {
	type step struct {
		world   *world
		history []string
	}
	depth := 18
	if testing.Short() {
		depth = 14
	}
	seen := map[string]bool{}
	frontier := []step{{world: newWorld()}}
	for range depth {
		var next []step
		for _, s := range frontier {
			for _, name := range slices.Sorted(maps.Keys(s.world.actions())) {
				w := s.world.clone()
				history := append(slices.Clip(s.history), name)
				err := w.actions()[name]()
				if err == nil && seen[w.key()] {
					continue
				}
				if err == nil {
					err = w.check()
				}
				if err != nil {
					t.Fatalf("after %q: %v", history, err)
				}
				seen[w.key()] = true
				next = append(next, step{w, history})
			}
		}
		frontier = next
	}
	t.Logf("%d states", len(seen))
	if len(seen) < 3000 {
		t.Fatalf("only %d states: the walk does not get anywhere", len(seen))
	}
}

// TestLongHistoriesKeepThePromises is the same world on long random ways.
func TestLongHistoriesKeepThePromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		for range 40 {
			actions := w.actions()
			name := rapid.SampledFrom(slices.Sorted(maps.Keys(actions))).Draw(t, "action")
			if err := actions[name](); err != nil {
				t.Fatal(err)
			}
			if err := w.check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestAnyArrivalIsReleasedOnceAndInOrder offers a chain in any order, with
// repetitions, and what was refused for want of room again.
func TestAnyArrivalIsReleasedOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, _ := OpenTerm(pinetree.VolumePosition{}, Fence{Term: 5, Base: pinetree.LSN(rapid.Uint32().Draw(t, "base"))})
		var chain []pinetree.Batch
		prev := at.LSN
		for range rapid.IntRange(1, 30).Draw(t, "length") {
			b := pinetree.Batch{Term: 5, Prev: prev, LSN: prev + pinetree.LSN(rapid.IntRange(1, 1000).Draw(t, "span")), Count: 1}
			b.Encoded = make([]byte, rapid.IntRange(0, 60).Draw(t, "size"))
			chain, prev = append(chain, b), b.LSN
		}
		q := NewQueue(at, Limits{
			MaxHeldBytes:   rapid.IntRange(0, 300).Draw(t, "bytes"),
			MaxHeldBatches: rapid.IntRange(0, 10).Draw(t, "batches"),
		})
		var released []pinetree.Batch
		for todo, round := chain, 0; len(todo) > 0; round++ {
			if round > len(chain) {
				t.Fatalf("%d of %d batches never get in", len(todo), len(chain))
			}
			var refused []pinetree.Batch
			repeated := append(slices.Clip(todo), rapid.SliceOfN(rapid.SampledFrom(chain), 0, 5).Draw(t, "repeated")...)
			for _, b := range rapid.Permutation(repeated).Draw(t, "order") {
				if _, err := q.Offer(b); errors.Is(err, pinetree.ErrQueueFull) {
					refused = append(refused, b)
				} else if err != nil {
					t.Fatal(err)
				}
				if wrong := q.disorder(); wrong != "" {
					t.Fatal(wrong)
				}
				if rapid.Bool().Draw(t, "take") {
					released = append(released, q.Take(rapid.IntRange(0, 200).Draw(t, "most"))...)
				}
			}
			released = append(released, q.Take(1<<20)...)
			todo = refused
		}
		checkReleased(t, at, chain, released)
	})
}

// checkReleased: each batch once, in order, and every replica applies them all.
func checkReleased(t *rapid.T, at pinetree.VolumePosition, chain, released []pinetree.Batch) {
	if len(released) != len(chain) {
		t.Fatalf("%d batches released, %d offered", len(released), len(chain))
	}
	for i, b := range released {
		if b.Prev != chain[i].Prev || b.LSN != chain[i].LSN {
			t.Fatalf("batch %d is %s, should be %s", i, span(b), span(chain[i]))
		}
		if decision := Decide(at, b); decision != Apply {
			t.Fatalf("the queue released %s and the replica at %s says %s", span(b), at.LSN, decision)
		}
		at.LSN = b.LSN
		if decision := Decide(at, b); decision != SkipReplayed {
			t.Fatalf("a second copy of %s: %s", span(b), decision)
		}
	}
}

// TestForgottenTermsAreOnlyUnknownWhereTheyMustBe opens more terms than the
// history keeps, a record in each, and compares with what is known of the part
// that is left.
func TestForgottenTermsAreOnlyUnknownWhereTheyMustBe(t *testing.T) {
	var at pinetree.VolumePosition
	for term := pinetree.ComputeTerm(2); term <= 2+2*(pinetree.MaxTermHistory+9); term += 2 {
		before := fmt.Sprint(at.Terms)
		next, opened := OpenTerm(at, Fence{Term: term})
		if !opened || len(next.Terms) > pinetree.MaxTermHistory || next.Term() != term {
			t.Fatalf("term %d: opened %v, %d terms kept, open is %d", term, opened, len(next.Terms), next.Term())
		}
		other, _ := OpenTerm(at, Fence{Term: term + 1})
		if fmt.Sprint(at.Terms) != before || next.Term() != term || other.Term() != term+1 {
			t.Fatalf("term %d: two positions share terms that are written to", term)
		}
		at = next
		at.LSN += 10
	}
	oldest := at.Terms[0]
	if len(at.Terms) != pinetree.MaxTermHistory || oldest.Term != 22 || oldest.Start != 100 {
		t.Fatalf("oldest of %d terms is %+v", len(at.Terms), oldest)
	}
	for _, c := range []struct {
		a    Append
		want Outcome
		err  error
	}{
		{Append{Term: 20, LSN: 90}, 0, pinetree.ErrTruncated},
		{Append{Term: 20, LSN: 100}, 0, pinetree.ErrTruncated},
		{Append{Term: 20, LSN: 101}, Rejected, nil},
		{Append{Term: 2, LSN: 200}, Rejected, nil},
		{Append{Term: 22, LSN: 110}, Committed, nil},
		{Append{Term: 22, LSN: 111}, Rejected, nil},
		{Append{Term: 23, LSN: 110}, Rejected, nil},
	} {
		if got, err := Resolve(at, c.a); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%+v: %s, %v; want %s, %v", c.a, got, err, c.want, c.err)
		}
	}
}

// TestATermThatEndedInAnEmptyLogCommittedNothing: a later fence may still move
// the base over the LSNs that its writer used in vain.
func TestATermThatEndedInAnEmptyLogCommittedNothing(t *testing.T) {
	at, _ := OpenTerm(pinetree.VolumePosition{}, Fence{Term: 1})
	at, _ = OpenTerm(at, Fence{Term: 2, Base: 100})
	at.LSN = 150
	at, _ = OpenTerm(at, Fence{Term: 3, Base: 900})
	if at.Base != 100 || at.LSN != 150 {
		t.Fatalf("a base was moved under records: %+v", at)
	}
	for lsn, want := range map[pinetree.LSN]Outcome{50: Rejected, 100: Rejected, 120: Rejected} {
		if got, err := Resolve(at, Append{Term: 1, LSN: lsn}); err != nil || got != want {
			t.Errorf("term 1 to %s: %s, %v; want %s", lsn, got, err, want)
		}
	}
	if got, err := Resolve(at, Append{Term: 2, LSN: 150}); err != nil || got != Committed {
		t.Errorf("term 2: %s, %v", got, err)
	}
}
