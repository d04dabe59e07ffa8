package segment

import (
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

// CheckAccounts compares what the index keeps count of with what it holds.
func (s *Store) CheckAccounts() error {
	recount := newIndex(0)
	var cached int64
	for group, g := range s.index.groups {
		recount.hold(group, g.slots, 1)
		if len(g.cached) > len(g.slots) {
			return fmt.Errorf("group %d has %d entries, and %d of them are cached", group, len(g.slots), len(g.cached))
		}
		for i, e := range g.cached {
			cached += cachedBytes(e)
			if want := g.last() + 1 - uint64(len(g.cached)-i); e.GetIndex() != want {
				return fmt.Errorf("group %d: cached as entry %d is %d", group, want, e.GetIndex())
			}
		}
	}
	if cached != s.index.recent.bytes {
		return fmt.Errorf("%d bytes are cached, counted were %d", cached, s.index.recent.bytes)
	}
	for _, f := range s.files {
		got, want := s.index.live[uint32(f.number)], recount.live[uint32(f.number)]
		if got == nil {
			got = &holding{}
		}
		if want == nil {
			want = &holding{}
		}
		if got.bytes != want.bytes || fmt.Sprint(got.groups) != fmt.Sprint(want.groups) {
			return fmt.Errorf("%s has live entries %v, counted were %v", frame.FileName(f.number), want, got)
		}
	}
	return nil
}

// Inline lets a store do at once, in its caller's goroutine, what it would
// do in the background, so that what a test has seen happens again.
func Inline(o Options) Options {
	o.inline = true
	return o
}

// Settle waits until nothing is left to do in the background.
func (s *Store) Settle() {
	for s.keeper.working() {
		time.Sleep(time.Millisecond)
	}
}

func (k *keeper) working() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed == nil && !k.closed && (k.busy || len(k.chores) > 0 || k.next != 0)
}
