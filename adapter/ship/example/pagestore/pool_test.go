package pagestore

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
)

// TestThePoolKeepsWhatWasUsedLast compares the pool with a list.
func TestThePoolKeepsWhatWasUsedLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 4).Draw(t, "limit")
		p := newPool(limit)
		var used []pinetree.PageNo // the last one in front
		use := func(page pinetree.PageNo) {
			kept := []pinetree.PageNo{page}
			for _, other := range used {
				if other != page {
					kept = append(kept, other)
				}
			}
			used = kept
		}
		for range rapid.IntRange(1, 40).Draw(t, "calls") {
			page := pinetree.PageNo(rapid.IntRange(0, 6).Draw(t, "page"))
			there := false
			for _, other := range used {
				there = there || other == page
			}
			if rapid.Bool().Draw(t, "put") {
				full := !there && len(used) == limit
				if evicted := p.put(page, []byte{byte(page)}); evicted != full {
					t.Fatalf("put of page %d with %d of %d pages: evicted %v", page, len(used), limit, evicted)
				}
				use(page)
				used = used[:min(len(used), limit)]
				continue
			}
			data, ok := p.get(page)
			if ok != there || ok && data[0] != byte(page) {
				t.Fatalf("page %d: got %v, %v; the pool has %v", page, data, ok, used)
			}
			if there {
				use(page)
			}
		}
	})
}

// TestAPageIsNeverAskedForBeforeItsLastChange: whatever is forgotten, the version
// that is asked for has the last change, and none from after the log's end.
func TestAPageIsNeverAskedForBeforeItsLastChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := pinetree.LSN(rapid.Uint64Range(0, 100).Draw(t, "start"))
		v := versions{floor: start}
		last := map[pinetree.PageNo]pinetree.LSN{}
		tail := start
		for range rapid.IntRange(1, 8).Draw(t, "transactions") {
			tail += pinetree.LSN(rapid.Uint64Range(1, 9).Draw(t, "bytes"))
			pages := map[pinetree.PageNo][]byte{}
			first := rapid.IntRange(0, 3).Draw(t, "first")
			for page := range rapid.SampledFrom([]int{1, 2, maxRemembered / 2}).Draw(t, "pages") {
				pages[pinetree.PageNo(first+page)] = nil
				last[pinetree.PageNo(first+page)] = tail
			}
			v.changed(tail, pages)
			if len(v.last) > maxRemembered {
				t.Fatalf("%d pages are remembered, the limit is %d", len(v.last), maxRemembered)
			}
			for page := range pinetree.PageNo(8) {
				if got := v.of(page); got < max(last[page], start) || got > tail {
					t.Fatalf("page %d was last changed at %s and the log ends at %s, and it is asked for at %s", page, last[page], tail, got)
				}
			}
		}
	})
}
