package crash

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/logservice/membership"
)

// story is what happens in every run: a group is made, written to, with transactions
// on the volume's metadata between, and its log compacted; a follower is left behind
// and gets a snapshot; another one is replaced, and removed from its machine. It
// returns the members at the end.
func (c *cluster) story() (members []*machine) {
	c.t.Helper()
	w := &writer{c: c}
	c.createGroup()
	c.until("the volume is created", func(ctx context.Context) error {
		_, g, err := c.leader()
		if err != nil {
			return err
		}
		return g.CreateVolume(ctx, theVolume, pinetree.FormatOpaque)
	})
	w.write(12)
	w.annotate(6)
	time.Sleep(100 * time.Millisecond) // engines are flushed, logs compacted
	w.write(12)
	w.annotate(4)
	w.forget()
	c.leaveBehind(w)
	w.annotate(2)
	removed := c.replace(w)
	w.annotate(2)
	w.write(6)
	c.remove(removed)
	w.write(6)
	w.annotate(2)
	for _, m := range c.machines {
		if m != removed {
			members = append(members, m)
		}
	}
	return members
}

func (c *cluster) createGroup() {
	c.t.Helper()
	for _, m := range c.machines[:3] {
		c.until(fmt.Sprintf("node %d creates its replica", m.id), func(ctx context.Context) error {
			h := m.running()
			if h == nil {
				return errors.New("it is down")
			}
			return h.Create(ctx, theGroup, []pinetree.NodeID{1, 2, 3})
		})
	}
}

// leaveBehind cuts a follower off until the log that it lacks is gone, and waits
// until it has all of it again.
func (c *cluster) leaveBehind(w *writer) {
	c.t.Helper()
	left := c.machine(2)
	if m, _, err := c.leader(); err == nil && m == left {
		left = c.machine(3)
	}
	c.isolate(left.id)
	c.until("the follower is left behind", func(context.Context) error {
		w.write(4)
		m, g, err := c.leader()
		if err != nil {
			return err
		}
		s, err := c.status(left)
		if err != nil {
			return err
		}
		first, err := m.log.View(g.ID()).FirstIndex()
		if err != nil || pinetree.RaftIndex(first) <= s.LastIndex+1 {
			return fmt.Errorf("it is at index %d, the leader's log begins at %d, %w", s.LastIndex, first, err)
		}
		return nil
	})
	c.isolate(0)
	w.write(4)
	c.catchUp(left)
}

// catchUp waits until a member has replayed all that is acknowledged.
func (c *cluster) catchUp(m *machine) {
	c.t.Helper()
	c.until(fmt.Sprintf("node %d catches up", m.id), func(ctx context.Context) error {
		s, err := c.status(m)
		if err == nil && s.Applied.Volumes[theVolume].LSN < c.acked() {
			err = fmt.Errorf("it is at %s of %s: %w", s.Applied.Volumes[theVolume].LSN, c.acked(), s.Stopped)
		}
		return err
	})
}

// replace puts node 4 into the place of a follower, which it returns.
func (c *cluster) replace(w *writer) (removed *machine) {
	c.t.Helper()
	joiner := c.machine(4)
	c.until("the joining node creates its replica", func(ctx context.Context) error {
		h := joiner.running()
		if h == nil {
			return errors.New("it is down")
		}
		return h.CreateBlank(ctx, theGroup)
	})
	c.until("node 4 takes the place of another", func(ctx context.Context) error {
		m, g, err := c.leader()
		if err != nil {
			return err
		}
		s, err := c.status(m)
		if err != nil {
			return err
		}
		switch {
		case s.Joint:
			return errors.New("the change is half done")
		case slices.Contains(s.Voters, joiner.id):
			for id := pinetree.NodeID(1); id < joiner.id; id++ {
				if !slices.Contains(s.Voters, id) {
					removed = c.machine(id)
				}
			}
			return nil
		case !slices.Contains(s.Learners, joiner.id):
			_, err = g.ChangeMembership(ctx, membership.Change{Add: []pinetree.NodeID{joiner.id}})
			return errors.Join(err, errors.New("the learner was just added"))
		}
		w.write(2)
		voter := slices.MaxFunc(s.Voters, func(a, b pinetree.NodeID) int {
			return int(a) - int(b) - 10*(truth(a == m.id)-truth(b == m.id)) // not the leader
		})
		_, err = g.ChangeMembership(ctx, membership.Replace(voter, joiner.id))
		return errors.Join(err, errors.New("the change was just made"))
	})
	return removed
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// remove has the files of a member that was removed deleted.
func (c *cluster) remove(m *machine) {
	c.t.Helper()
	c.until(fmt.Sprintf("node %d removes its replica", m.id), func(ctx context.Context) error {
		h := m.running()
		if h == nil {
			return errors.New("it is down")
		}
		return h.RemoveReplica(ctx, theGroup)
	})
}

// judge compares the members with what was written, once as they are and once
// after a power cut of all of them.
func (c *cluster) judge(members []*machine) {
	c.t.Helper()
	want := expected(c.t, c.acked())
	for round := range 2 {
		for _, m := range members {
			c.until(fmt.Sprintf("round %d: node %d reads its log", round, m.id), func(ctx context.Context) error {
				g, err := m.replica()
				if err != nil {
					return err
				}
				var got engine.DigestResult
				_, err = g.Read(ctx, host.ReadRequest{Volume: theVolume, Level: pinetree.ReadStale, MinLSN: want.At}, func(r engine.Reader) (err error) {
					got, err = engine.Digest(r, want.At)
					return err
				})
				if err == nil && got != want {
					c.t.Fatalf("%s: round %d: node %d has %d records, %d bytes, digest %x; written were %d records, %d bytes, digest %x",
						c.plan, round, m.id, got.Records, got.Bytes, got.Sum[:4], want.Records, want.Bytes, want.Sum[:4])
				}
				if err != nil {
					return err
				}
				return c.judgeNotes(ctx, g)
			})
		}
		if round > 0 {
			return
		}
		c.grid.Lock()
		c.grid.strikes = nil
		for _, m := range c.machines {
			m.die(0)
			m.life |= 1 << 8 // other seeds than those of earlier crashes
		}
		c.grid.Unlock()
	}
}

// judgeFailure looks at a process in which a call has failed, and ends it after a
// while.
func (c *cluster) judgeFailure(m *machine) {
	c.grid.Lock()
	f := m.failed
	c.grid.Unlock()
	if f == nil || time.Since(f.told) < 300*time.Millisecond {
		return
	}
	s, err := c.status(m)
	if err == nil && s.Stopped != nil {
		c.marks.stopped.Add(1)
		if c.acked() > f.end {
			c.marks.wentOn.Add(1)
		}
	} else if err == nil && f.log && f.sync {
		c.t.Errorf("%s: a sync of the raft log's %s has failed, and node %d goes on: %+v", c.plan, f.name, m.id, s)
	}
	c.grid.Lock()
	defer c.grid.Unlock()
	m.die(0)
}
