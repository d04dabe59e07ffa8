package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// load is a ledger that is written to all the time.
type load struct {
	ledger
	meter  meter
	c      *cluster
	cancel context.CancelFunc
	ended  chan error
}

func (c *cluster) load(volume string) *load { return c.loadAt(volume, 2*time.Millisecond) }

// loadAt is a load that pauses after every 50 records; zero keeps its window full.
func (c *cluster) loadAt(volume string, pace time.Duration) *load {
	c.t.Helper()
	l := &load{c: c, ended: make(chan error, 1)}
	l.pace = pace
	var err error
	l.writer, err = c.client(volume).OpenWriter(c.within(20*time.Second), ship.WriterConfig{
		RetryFor: time.Minute, WindowBytes: 1 << 20, BatchBytes: 8 << 10,
		Acked: func(a ship.Acked) { l.acked.Store(uint64(a.LSN)); l.meter.hear(a) },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	c.t.Cleanup(cancel)
	go func() { l.ended <- l.run(ctx) }()
	return l
}

// more waits until so many more bytes are acknowledged.
func (l *load) more(bytes uint64) {
	l.c.t.Helper()
	before := l.acked.Load()
	within(l.c.t, 30*time.Second, fmt.Sprintf("%d more bytes acknowledged", bytes), func() error {
		select {
		case err := <-l.ended:
			l.c.t.Fatalf("the writer ended: %v", err)
		default:
		}
		if got := l.acked.Load() - before; got < bytes {
			return fmt.Errorf("%d bytes since %s", got, pinetree.LSN(before))
		}
		return nil
	})
}

// end stops the load and returns up to where everything is acknowledged.
func (l *load) end() pinetree.LSN {
	l.c.t.Helper()
	l.cancel()
	if err := <-l.ended; err != nil {
		l.c.t.Fatal(err)
	}
	if err := l.writer.Flush(l.c.within(30 * time.Second)); err != nil {
		l.c.t.Fatal(err)
	}
	return l.tail
}

// change changes the replicas of a group and waits until that is through; zero
// is no node.
func (c *cluster) change(group uint64, add, remove pinetree.NodeID) *wirepb.GroupInfo {
	c.t.Helper()
	limit := 40 * time.Second
	if full() {
		limit = 5 * time.Minute // for a state of gigabytes
	}
	info, err := c.manages().ChangeReplicas(c.within(limit), &wirepb.ChangeReplicasRequest{Group: group, Add: uint64(add), Remove: uint64(remove)})
	if err != nil {
		c.t.Fatalf("add %d, remove %d: %v", add, remove, err)
	}
	return info
}

func (c *cluster) show(group uint64) (*wirepb.GroupInfo, error) {
	list, err := c.manages().ListGroups(c.within(2*time.Second), &wirepb.ListGroupsRequest{Group: group})
	if err != nil {
		return nil, err
	}
	return list.Groups[0], nil
}

// votersAre waits until a group has exactly these voters by the word of each of
// them, and no other node has a replica.
func (c *cluster) votersAre(group uint64, nodes ...*node) {
	c.t.Helper()
	var want []uint64
	for _, n := range nodes {
		want = append(want, uint64(n.id))
	}
	slices.Sort(want)
	within(c.t, 20*time.Second, fmt.Sprintf("the voters are %v everywhere", want), func() error {
		for _, n := range c.nodes {
			if !n.running() {
				continue
			}
			status, err := wirepb.NewNodeClient(c.dial(n.addr)).Status(c.within(time.Second), &wirepb.StatusRequest{Group: group})
			switch {
			case errors.Is(err, pinetree.ErrUnknownGroup) && !slices.Contains(nodes, n):
			case err != nil:
				return fmt.Errorf("%s: %w", n.name, err)
			case !slices.Contains(nodes, n):
				return fmt.Errorf("%s still has a replica: %v", n.name, status.Replicas)
			case !slices.Equal(status.Replicas[0].Voters, want) || len(status.Replicas[0].Learners) > 0 || status.Replicas[0].Joint:
				return fmt.Errorf("%s: %v", n.name, status.Replicas[0])
			}
		}
		return nil
	})
}

// logSays tells whether a process has logged words.
func (p *process) logSays(words string) error {
	data, err := os.ReadFile(p.log)
	if err == nil && !strings.Contains(string(data), words) {
		err = fmt.Errorf("%s has not logged %q", p.name, words)
	}
	return err
}

// TestReplicasAreAddedAndRemovedUnderLoad lets a fourth node join a group, and
// takes a follower and then the leader out of it, while a writer goes on.
func TestReplicasAreAddedAndRemovedUnderLoad(t *testing.T) {
	beside(t)
	c := startCluster(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	l.more(1 << 20)
	fourth := c.addNode()
	if info := c.change(volume.Group, fourth.id, 0); !slices.Equal(info.Voters, []uint64{1, 2, 3, 4}) {
		t.Fatalf("after the addition: %v", info)
	}
	l.more(1 << 18)
	leader := c.mustLeader(volume.Group)
	follower := c.nodes[slices.IndexFunc(c.nodes, func(n *node) bool { return n != leader && n != fourth })]
	c.change(volume.Group, 0, follower.id)
	l.more(1 << 18)
	leader = c.mustLeader(volume.Group)
	c.change(volume.Group, 0, leader.id)
	l.more(1 << 18)
	left := slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n == leader || n == follower })
	c.votersAre(volume.Group, left...)
	c.verifyOn(left, volume.Volume, l.end())
}

// TestAWipedNodeIsReplacedByANewOne kills a node, deletes everything it has, and
// lets it come back: it is a new node, and takes the place of the old one.
func TestAWipedNodeIsReplacedByANewOne(t *testing.T) {
	beside(t)
	c := startCluster(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	l.more(1 << 20)
	wiped := c.nodes[2]
	wiped.kill()
	if err := os.RemoveAll(wiped.dir); err != nil {
		t.Fatal(err)
	}
	wiped.start()
	within(t, 20*time.Second, "it registers anew", func() error { return c.registered(4) })
	wiped.id = 4
	l.more(1 << 18)
	if info := c.change(volume.Group, 4, 3); !slices.Equal(info.Voters, []uint64{1, 2, 4}) {
		t.Fatalf("after the replacement: %v", info)
	}
	l.more(1 << 18)
	// With another one gone the group needs it.
	other := c.nodes[0]
	if c.mustLeader(volume.Group) == other {
		other = c.nodes[1]
	}
	other.kill()
	l.more(1 << 18)
	other.start()
	c.awaitServing(other)
	c.votersAre(volume.Group, c.nodes...)
	c.verify(volume.Volume, l.end())
}

// TestANodeThatLostItsDataIsNoVoterAnyMore keeps the identity of a node and
// deletes its log and its engine. It must acknowledge nothing and vote for
// nobody: it does not know what it has promised.
func TestANodeThatLostItsDataIsNoVoterAnyMore(t *testing.T) {
	beside(t)
	c := startCluster(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	l.more(1 << 18)
	leader := c.mustLeader(volume.Group)
	followers := slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n == leader })
	lost, other := followers[0], followers[1]
	// What is acknowledged from here on is on the leader and on the node that is
	// about to lose it.
	c.isolate(other, true)
	l.more(1 << 18)
	lost.kill()
	for _, name := range []string{"raftlog", "engine"} {
		if err := os.RemoveAll(filepath.Join(lost.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	leader.kill()
	before := l.acked.Load()
	c.isolate(other, false)
	lost.start()
	c.awaitServing(lost)
	for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if n, err := c.leader(volume.Group); err == nil && n != leader {
			t.Fatalf("%s leads, elected by a node that lost its data", n.name)
		}
	}
	if after := l.acked.Load(); after != before {
		t.Errorf("from %s to %s was acknowledged without the only node that has what is before", pinetree.LSN(before), pinetree.LSN(after))
	}
	leader.start()
	c.awaitServing(leader)
	l.more(1 << 18)
	// It is taken out, and comes back as a learner that never voted.
	c.change(volume.Group, 0, lost.id)
	c.moveAnywhere(volume.Group)
	within(t, 10*time.Second, "its former replica is forgotten", func() error {
		info, err := c.show(volume.Group)
		if err == nil && len(info.Removed) > 0 {
			err = fmt.Errorf("%v", info)
		}
		return err
	})
	c.change(volume.Group, lost.id, 0)
	l.more(1 << 18)
	c.votersAre(volume.Group, c.nodes...)
	c.verify(volume.Volume, l.end())
}

// moveAnywhere moves a group's leadership, and with it begins a new raft term.
func (c *cluster) moveAnywhere(group uint64) {
	c.t.Helper()
	within(c.t, 10*time.Second, "the leadership moves", func() error {
		moved, err := c.manages().MoveLeader(c.within(5*time.Second), &wirepb.MoveLeaderRequest{Group: group})
		if err == nil && !moved.Moved {
			err = errors.New(moved.Reason)
		}
		return err
	})
}
