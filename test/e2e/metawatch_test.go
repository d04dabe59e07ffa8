package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/metaclient"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

// follower watches all cells. Every revision of the volume changes two of them, so
// the watch shows every revision, or it misses something.
type follower struct {
	client *metaclient.Client
	at     pinetree.MetaRevision
	told   atomic.Uint64                    // at, for others
	seen   map[pinetree.MetaRevision]string // value put by a revision
	again  int                              // watches that were begun anew after a compaction
	wrong  error
}

// follow watches until ctx ends, and reads anew when it was left behind.
func (f *follower) follow(ctx context.Context) {
	f.seen = map[pinetree.MetaRevision]string{}
	for ctx.Err() == nil {
		err := f.client.Watch(ctx, metaclient.WatchSpec{Span: metaclient.Prefix([]byte("cells/")), After: f.at, Progress: 500 * time.Millisecond}, f.step)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, pinetree.ErrTruncated):
			read, err := f.client.Range(ctx, windowSpanRead())
			if err == nil {
				f.at, f.again = read.Revision, f.again+1
				f.told.Store(uint64(f.at))
			}
		default:
			f.wrong = err
			return
		}
	}
}

func (f *follower) step(s metaclient.Step) error {
	for n, c := range s.Changes {
		if n%2 == 0 {
			if c.Modified != f.at+1 {
				return fmt.Errorf("revision %d was told after revision %d", c.Modified, f.at)
			}
			f.at, f.seen[c.Modified] = c.Modified, string(c.Value)
		} else if c.Modified != f.at || string(c.Value) != f.seen[f.at] {
			return fmt.Errorf("revision %d was told in part: %s and %s", f.at, f.seen[f.at], c.Value)
		}
	}
	if s.Revision != f.at {
		return fmt.Errorf("a step leads to revision %d, its changes to %d", s.Revision, f.at)
	}
	f.told.Store(uint64(f.at))
	return nil
}

// caughtUp waits, for a while, until every watch has told of a revision.
func caughtUp(followers []*follower, newest pinetree.MetaRevision) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if !slices.ContainsFunc(followers, func(f *follower) bool { return f.told.Load() < uint64(newest) }) {
			return
		}
	}
}

// compact gives up old history every now and then, until ctx ends.
func compactMeta(ctx context.Context, client *metaclient.Client, behind pinetree.MetaRevision) (times int) {
	for ctx.Err() == nil {
		read, err := client.Range(ctx, windowSpanRead())
		if err == nil && read.Revision > behind {
			if _, err := client.Compact(ctx, read.Revision-behind); err == nil {
				times++
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(700 * time.Millisecond):
		}
	}
	return times
}

// checkFollower compares what a watch told with what was acknowledged.
func (h *metaHistory) checkFollower(t *testing.T, name string, f *follower, newest pinetree.MetaRevision) {
	t.Helper()
	switch {
	case f.wrong != nil:
		t.Errorf("%s: %v", name, f.wrong)
	case f.at < newest:
		t.Errorf("%s is at revision %d of %d", name, f.at, newest)
	}
	missing := 0
	for revision, value := range h.written {
		told, there := f.seen[revision]
		if there && told != value {
			t.Errorf("%s: revision %d put %s, and was acknowledged as %s", name, revision, told, value)
		}
		if !there {
			missing++
		}
	}
	if missing > 0 && f.again == 0 {
		t.Errorf("%s misses %d of %d acknowledged revisions", name, missing, len(h.written))
	}
}

// anyReplica watches wherever it can.
var anyReplica = ship.ReadConfig{Level: pinetree.ReadStale}
