package meta

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func ints(values ...int) []*int {
	list := make([]*int, len(values))
	for n := range values {
		list[n] = &values[n]
	}
	return list
}

func listed(t tree[int]) (list []int) {
	t.from(nil, func(v *int) bool {
		list = append(list, *v)
		return true
	})
	return list
}

// depth checks sizes and balance on the way.
func depth(t *rapid.T, n *node[int]) int {
	if n == nil {
		return 0
	}
	if n.size != n.left.count()+n.right.count()+1 {
		t.Fatalf("a node of %d values says %d", n.left.count()+n.right.count()+1, n.size)
	}
	if n.size > 2 && (n.left.weight() > maxWeightRatio*n.right.weight() || n.right.weight() > maxWeightRatio*n.left.weight()) {
		t.Fatalf("%d values stand beside %d", n.left.count(), n.right.count())
	}
	return 1 + max(depth(t, n.left), depth(t, n.right))
}

// TestTreesAreSortedSets compares with sorted slices, earlier trees included, which
// must not change.
func TestTreesAreSortedSets(t *testing.T) {
	compare := func(a, b *int) int { return cmp.Compare(*a, *b) }
	rapid.Check(t, func(t *rapid.T) {
		now, set := tree[int]{compare: compare}, []int(nil)
		if rapid.Bool().Draw(t, "built") {
			set = slices.Compact(slices.Sorted(slices.Values(rapid.SliceOf(rapid.IntRange(0, 300)).Draw(t, "values"))))
			now = treeOf(compare, ints(set...))
		}
		early, wasEarly := now, slices.Clone(set)
		ascending := rapid.Bool().Draw(t, "ascending")
		for n := range rapid.IntRange(0, 300).Draw(t, "steps") {
			v := n
			if !ascending {
				v = rapid.IntRange(0, 300).Draw(t, "value")
			}
			at, found := slices.BinarySearch(set, v)
			if rapid.IntRange(0, 3).Draw(t, "op") == 0 {
				now = now.remove(&v)
				if found {
					set = slices.Delete(slices.Clone(set), at, at+1)
				}
			} else {
				now = now.insert(&v)
				if !found {
					set = slices.Insert(slices.Clone(set), at, v)
				}
			}
			depth(t, now.root)
		}
		if got := listed(now); !slices.Equal(got, set) {
			t.Fatalf("%v, want %v", got, set)
		}
		if got := listed(early); !slices.Equal(got, wasEarly) {
			t.Fatalf("an earlier tree is %v, it was %v", got, wasEarly)
		}
		v := rapid.IntRange(-1, 301).Draw(t, "asked")
		at, found := slices.BinarySearch(set, v)
		same(t, "first", now.first(), set, 0)
		same(t, "ceiling", now.ceiling(&v), set, at)
		below := at - 1
		if found {
			below = at
		}
		same(t, "floor", now.floor(&v), set, below)
	})
}

func same(t *rapid.T, what string, got *int, set []int, at int) {
	t.Helper()
	if there := at >= 0 && at < len(set); there != (got != nil) || there && *got != set[at] {
		t.Fatalf("%s: %v, want the value at %d of %v", what, got, at, set)
	}
}
