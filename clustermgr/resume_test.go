package clustermgr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// mortal is the store as one manager sees it, whose process dies at a write: just
// before it or just after it, so that the answer is never heard.
type mortal struct {
	*ledger.Memory
	kill func() // ends the process

	mu    sync.Mutex
	armed bool
	left  int // decisions to write before the fatal one
	after bool
	dead  bool
	quiet []string // records that were changed without an event
}

var errKilled = errors.New("the process of this manager is gone")

// arm lets the process die at the decision of that number, counted from zero.
func (m *mortal) arm(number int, after bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed, m.left, m.after = true, number, after
}

func (m *mortal) killed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// strikes tells whether the process dies at these changes, or has died. Events
// are no decisions.
func (m *mortal) strikes(changes []ledger.Change) (now, before bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return true, true
	}
	decides := slices.ContainsFunc(changes, func(c ledger.Change) bool { return !strings.HasPrefix(c.Key, "events/") })
	if !m.armed || !decides {
		return false, false
	}
	m.left--
	m.dead = m.left < 0
	return m.dead, !m.after
}

func (m *mortal) Swap(ctx context.Context, o ledger.Office, changes []ledger.Change) (int64, error) {
	was := m.killed()
	now, before := m.strikes(changes)
	m.listen(changes)
	if now && !was {
		defer func() { go m.kill() }()
	}
	if now && (was || before) {
		return 0, errKilled
	}
	revision, err := m.Memory.Swap(ctx, o, changes)
	if now {
		return 0, errKilled
	}
	return revision, err
}

func (m *mortal) listen(changes []ledger.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.quiet = append(m.quiet, untold(changes)...)
}

// unheard are the records that were changed without an event.
func (m *mortal) unheard() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.quiet
}

func (m *mortal) Confirm(ctx context.Context, o ledger.Office) error {
	if m.killed() {
		return errKilled
	}
	return m.Memory.Confirm(ctx, o)
}

// Resign is what a process that is gone does not do; its office ends by itself.
func (m *mortal) Resign(ctx context.Context, o ledger.Office) error {
	if m.killed() {
		m.Expire()
		return errKilled
	}
	return m.Memory.Resign(ctx, o)
}

// mortalCluster has a manager that will die and another one that takes its place,
// and is whom clients ask.
func mortalCluster(t *testing.T, zones ...string) (*cluster, *mortal) {
	t.Helper()
	memory := ledger.NewMemory()
	m := &mortal{Memory: memory}
	c := newTunedCluster(t, memory, func(i int, cfg *Config) {
		if i == 0 {
			cfg.Store = m
		}
	}, zones...)
	m.kill = c.managers[0].stop
	c.manager(1)
	return c, m
}

// whole says what is half done, by the store, the nodes and the active manager.
func (c *cluster) whole() error {
	entries, err := c.store.Read(c.t.Context(), "")
	if err != nil {
		return err
	}
	book, err := ledger.Open(entries)
	if err != nil {
		return err
	}
	known := map[uint64]ledger.Group{}
	for _, k := range book.Groups {
		g := k.Is
		known[uint64(g.ID)] = g
		if !g.Created || g.Change != nil || len(g.Removed) > 0 || g.Deleted {
			return fmt.Errorf("group %d is half done: %+v", g.ID, g)
		}
		if g.ID > book.Counters.Is.Group {
			return fmt.Errorf("group %d is above the last id given, %d", g.ID, book.Counters.Is.Group)
		}
		info := c.group(uint64(g.ID))
		if !info.GetLeased() || !c.holds(info.GetLeader(), uint64(g.ID)) || pinetree.NodeID(info.GetLeader()) != g.Lease.Node {
			return fmt.Errorf("group %d is led by node %d, leased: %t; %s", g.ID, info.GetLeader(), info.GetLeased(), info.GetReason())
		}
	}
	defer c.raft.mu.Unlock()
	c.raft.mu.Lock()
	for id, n := range c.raft.nodes {
		if !n.up() {
			continue
		}
		for group := range n.replicas {
			if _, there := known[group]; !there {
				return fmt.Errorf("node %d has a replica of group %d, which is not known", id, group)
			}
		}
		for group, g := range known {
			if votes := slices.Contains(g.Voters, id); votes != (n.replicas[group] != nil) {
				return fmt.Errorf("node %d is a voter of group %d: %t; has a replica: %t", id, group, votes, !votes)
			}
		}
	}
	for _, k := range book.Volumes {
		g, there := known[uint64(k.Is.Group)]
		if !there || !k.Is.Ready || k.Is.Deleted {
			return fmt.Errorf("volume %d is half done: %+v", k.Is.ID, k.Is)
		}
		if _, made := c.raft.nodes[g.Lease.Node].replicas[uint64(g.ID)].volumes[uint64(k.Is.ID)]; !made {
			return fmt.Errorf("volume %d is ready, and the leader does not have it", k.Is.ID)
		}
	}
	return nil
}

// given are the ids of all groups that any node ever had.
func (c *cluster) given() map[uint64]bool {
	given := map[uint64]bool{}
	defer c.raft.mu.Unlock()
	c.raft.mu.Lock()
	for _, n := range c.raft.nodes {
		for group := range n.replicas {
			given[group] = true
		}
		for group := range n.deleted {
			given[group] = true
		}
	}
	return given
}

// story is an operation: what there is before, the order, and what must be true
// of it in the end when its first decision was recorded, and when it was not.
type story struct {
	zones  []string
	before func(*cluster)
	order  func(*cluster) error
	done   func(*cluster) error
	// undone is nil where the order may have been made again by who sent it on.
	undone func(*cluster) error
}

func TestAManagerThatDiesAtAnyWriteLeavesNothingHalfDone(t *testing.T) {
	for name, s := range stories() {
		for _, after := range []bool{false, true} {
			when := map[bool]string{false: "before", true: "after"}[after]
			t.Run(name+"/"+when, func(t *testing.T) {
				t.Parallel()
				for number := 0; s.tell(t, number, after); number++ {
					if number > 20 {
						t.Fatal("the operation never ends")
					}
				}
			})
		}
	}
}

// tell lets the manager die at one decision of the operation; false when the
// operation has fewer.
func (s story) tell(t *testing.T, number int, after bool) bool {
	t.Helper()
	died := false
	t.Run(fmt.Sprint(number), func(t *testing.T) {
		zones := s.zones
		if zones == nil {
			zones = []string{"a", "b", "c"}
		}
		c, m := mortalCluster(t, zones...)
		if s.before != nil {
			s.before(c)
			var reason error
			c.eventually("all is in order before", func() bool { reason = c.whole(); return reason == nil })
			if reason != nil {
				t.Fatal(reason)
			}
		}
		m.arm(number, after)
		answer := s.order(c)
		var last error
		check := func() bool {
			if last = c.whole(); last != nil {
				return false
			}
			if number == 0 && !after && m.killed() && s.undone != nil {
				if last = s.undone(c); last == nil {
					return true
				}
			}
			last = s.done(c)
			return last == nil
		}
		defer func() {
			if t.Failed() {
				t.Logf("the order was answered with %v; in the end: %v", answer, last)
			}
		}()
		c.eventually("all is in order again", check)
		if quiet := m.unheard(); len(quiet) > 0 {
			t.Errorf("changed without an event in the same write: %v", quiet)
		}
		if died = m.killed(); !died {
			if answer != nil {
				t.Errorf("nobody died, and the order was answered with %v", answer)
			}
			return
		}
		given := c.given()
		g, err := c.client().CreateGroup(c.context(), &wirepb.CreateGroupRequest{Replicas: 1})
		if err != nil || given[g.GetGroup()] {
			t.Errorf("the next group is %d, given before: %t; %v", g.GetGroup(), given[g.GetGroup()], err)
		}
	})
	return died && !t.Failed()
}
