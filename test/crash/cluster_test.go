package crash

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	theGroup  pinetree.GroupID  = 7
	theVolume pinetree.VolumeID = 3
	// patience is how long anything may take in virtual time.
	patience = 30 * time.Second
)

// cluster is four machines joined by function calls, of which three are members
// of the group at first, and a manager that starts processes that died, appoints
// leaders and grants leases.
type cluster struct {
	t        *testing.T
	plan     plan
	began    time.Time
	ctx      context.Context // ends with the run
	cancel   func()
	managed  sync.WaitGroup
	machines []*machine
	next     pinetree.AppointmentID
	ackedLSN atomic.Uint64
	marks    marks

	grid grid

	mu    sync.Mutex
	away  pinetree.NodeID // cut off from the others; zero for none
	notes notes
}

// marks are interesting things that happened in a run.
type marks struct{ snapshots, elections, revivals, annotated, stopped, wentOn atomic.Int64 }

func startCluster(t *testing.T, p plan) *cluster {
	c := &cluster{t: t, plan: p, began: time.Now().Add(-time.Hour)}
	c.ctx, c.cancel = context.WithTimeout(context.Background(), 10*patience)
	c.grid.strikes = p.strikes()
	for id := pinetree.NodeID(1); id <= 4; id++ {
		c.machines = append(c.machines, newMachine(c, id))
	}
	c.managed.Go(c.manage)
	return c
}

func (c *cluster) close() {
	c.cancel()
	c.managed.Wait()
	for _, m := range c.machines {
		c.grid.Lock()
		m.die(0)
		c.grid.Unlock()
		m.shut()
	}
}

func (c *cluster) acked() pinetree.LSN { return pinetree.LSN(c.ackedLSN.Load()) }

func (c *cluster) machine(id pinetree.NodeID) *machine { return c.machines[id-1] }

// config is what a host is made of.
func (c *cluster) config(m *machine) host.Config {
	options := host.DefaultOptions()
	options.Replica.TickInterval = 10 * time.Millisecond
	options.Replica.InactiveAfter = 50 * time.Millisecond
	options.Replica.MaxLogBytes = 2 << 10
	options.FlushInterval = 30 * time.Millisecond
	options.KeepEntries = 4
	return host.Config{
		Node: m.id, Log: m.log, Engines: m.engines, Options: options, Logger: logger(c.t).With("node", m.id),
		Clock: func() lease.Instant { return lease.Instant(time.Since(c.began)) },
		Send: func(to pinetree.NodeID, messages []wirepb.GroupMessage) {
			if peer, err := c.link(m, to); err == nil {
				peer.Deliver(copied(c.t, messages))
			}
		},
		SendSnapshot: func(ctx context.Context, to pinetree.NodeID, message wirepb.GroupMessage, chunks func(func([]byte) error) error) error {
			peer, err := c.link(m, to)
			if err != nil {
				return err
			}
			return c.carry(ctx, m.id, peer, message, chunks)
		},
	}
}

// link is the host that a machine's process reaches at another one.
func (c *cluster) link(from *machine, to pinetree.NodeID) (*host.Host, error) {
	c.mu.Lock()
	cut := c.away == from.id || c.away == to
	c.mu.Unlock()
	if peer := c.machine(to).running(); peer != nil && !cut && from.running() != nil {
		return peer, nil
	}
	return nil, fmt.Errorf("node %d cannot be reached", to)
}

// copied carries messages through their encoding, as the network does.
func copied(t *testing.T, messages []wirepb.GroupMessage) (got []wirepb.GroupMessage) {
	var frame []byte
	for _, m := range messages {
		frame = wirepb.AppendGroupMessage(frame, m)
	}
	err := wirepb.DecodeGroupMessages(frame, func(m wirepb.GroupMessage) error {
		got = append(got, m)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return got
}

// carry brings a snapshot to a peer, chunk by chunk.
func (c *cluster) carry(ctx context.Context, from pinetree.NodeID, peer *host.Host, message wirepb.GroupMessage, chunks func(func([]byte) error) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stream, taken := make(chan []byte), make(chan error, 1)
	go func() {
		err := peer.TakeSnapshot(ctx, from, message, func() ([]byte, error) {
			select {
			case chunk, more := <-stream:
				if !more {
					return nil, io.EOF
				}
				return chunk, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		cancel() // whoever still sends need not
		taken <- err
	}()
	err := chunks(func(chunk []byte) error {
		select {
		case stream <- slices.Clone(chunk):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		cancel()
	} else {
		close(stream)
	}
	failed := <-taken
	if err == nil && failed == nil {
		c.marks.snapshots.Add(1)
		return nil
	}
	return errors.Join(failed, err)
}

// isolate cuts a machine off from the others; zero heals that.
func (c *cluster) isolate(id pinetree.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = id
}

// manage is what a cluster manager and an init system do.
func (c *cluster) manage() {
	for c.ctx.Err() == nil {
		for _, m := range c.machines {
			c.attend(m)
		}
		c.lead()
		time.Sleep(10 * time.Millisecond)
	}
}

// attend starts a process that has died.
func (c *cluster) attend(m *machine) {
	c.judgeFailure(m)
	c.grid.Lock()
	due := m.dead && !time.Now().Before(m.due)
	c.grid.Unlock()
	if due {
		c.marks.revivals.Add(1)
		m.revive(c.plan.crash(m))
	}
}

// replica is a member of the group on a machine that runs.
func (m *machine) replica() (*host.Group, error) {
	h := m.running()
	if h == nil {
		return nil, fmt.Errorf("node %d is down", m.id)
	}
	return h.Group(theGroup)
}

func (c *cluster) status(m *machine) (group.Status, error) {
	g, err := m.replica()
	if err != nil {
		return group.Status{}, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, 100*time.Millisecond)
	defer cancel()
	return g.Status(ctx)
}

// lead sees to it that the group has a leader that may acknowledge.
func (c *cluster) lead() {
	asked := lease.Instant(time.Since(c.began))
	var electable []group.Status
	for _, m := range c.machines {
		s, err := c.status(m)
		if err != nil || s.Stopped != nil || s.Blank {
			continue
		}
		if s.Leader && (s.Quiet || s.QuorumAge < 300*time.Millisecond) {
			if g, err := m.replica(); err == nil {
				g.Grant(lease.Grant{Group: theGroup, Appointment: s.Appointment, Term: s.RaftTerm, Duration: 200 * time.Millisecond}, asked)
			}
			return
		}
		electable = append(electable, s)
	}
	if len(electable) < 2 {
		return
	}
	newest := slices.MaxFunc(electable, func(a, b group.Status) int { return cmp.Compare(a.MembersAt, b.MembersAt) })
	slices.SortFunc(electable, func(a, b group.Status) int {
		return -cmp.Or(cmp.Compare(a.LastTerm, b.LastTerm), cmp.Compare(a.LastIndex, b.LastIndex), cmp.Compare(b.Node, a.Node))
	})
	for _, s := range electable {
		if slices.Contains(newest.Voters, s.Node) && c.appoint(s.Node) == nil {
			c.marks.elections.Add(1)
			return
		}
	}
}

func (c *cluster) appoint(id pinetree.NodeID) error {
	g, err := c.machine(id).replica()
	if err != nil {
		return err
	}
	c.next++
	ctx, cancel := context.WithTimeout(c.ctx, 300*time.Millisecond)
	defer cancel()
	return g.Appoint(ctx, group.Appointment{ID: c.next})
}

// leader finds the replica that leads and may acknowledge.
func (c *cluster) leader() (*machine, *host.Group, error) {
	for _, m := range c.machines {
		if s, err := c.status(m); err == nil && s.Ready && s.Activated && s.Stopped == nil {
			g, err := m.replica()
			return m, g, err
		}
	}
	return nil, nil, errors.New("nobody leads")
}

// until repeats an attempt until it succeeds.
func (c *cluster) until(what string, attempt func(ctx context.Context) error) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		err := attempt(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) || c.ctx.Err() != nil {
			c.t.Fatalf("%s: %s: not within %v: %v\n%s", c.plan, what, patience, err, c.describe())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// describe says how the machines are, for a run that failed.
func (c *cluster) describe() (text string) {
	for _, m := range c.machines {
		s, err := c.status(m)
		text += fmt.Sprintf("node %d after %d changes: err %v, stopped %v, leads %v, raft term %d, last index %d, committed %d, applied %d, voters %v, learners %v\n",
			m.id, len(m.calls), err, s.Stopped, s.Leader, s.RaftTerm, s.LastIndex, s.Committed, s.Applied.Index, s.Voters, s.Learners)
	}
	return text
}
