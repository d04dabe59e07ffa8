package e2e

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
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// outage is one run of a load and of readers of every level while there is no
// manager.
type outage struct {
	c      *cluster
	volume *wirepb.VolumeInfo
	load   *load
	leader *node

	mu    sync.Mutex
	reads map[string]int // answered, by level asked for and served
	wrong []string
}

func (o *outage) note(key string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.reads[key]++; err != nil && len(o.wrong) < 10 {
		o.wrong = append(o.wrong, fmt.Sprintf("%s: %v", key, err))
	}
}

// read asks every node at every level again and again, until ctx ends. Each read
// must be answered and, unless it is a stale one, show what was acknowledged.
func (o *outage) read(ctx context.Context) {
	for ctx.Err() == nil {
		for _, n := range o.c.nodes {
			for _, level := range []wirepb.ReadLevel{wirepb.ReadLevel_STALE, wirepb.ReadLevel_CONSISTENT, wirepb.ReadLevel_DEFAULT} {
				if level == wirepb.ReadLevel_DEFAULT && n != o.leader {
					continue
				}
				acked := o.load.acked.Load()
				s, err := o.c.state(n, o.volume.Volume, level, 5*time.Second)
				if err == nil && level != wirepb.ReadLevel_STALE && s.Served.Lsn < acked {
					err = fmt.Errorf("%s answers %d, and %d was acknowledged before", n.name, s.Served.Lsn, acked)
				}
				o.note(fmt.Sprintf("%s as %s", level, s.GetServed().GetLevel()), err)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// raftTerms are the appointment and the raft term of a group by its leader's word.
func (c *cluster) raftTerms(n *node, group uint64) (string, error) {
	status, err := wirepb.NewNodeClient(c.dial(n.addr)).Status(c.within(2*time.Second), &wirepb.StatusRequest{Group: group})
	if err != nil {
		return "", err
	}
	r := status.Replicas[0]
	return fmt.Sprintf("leader: %t, appointment %d, raft term %d", r.Leader, r.Appointment, r.RaftTerm), nil
}

// TestManagersAreNotInTheDataPath kills the manager and its etcd under load: not
// one write fails, consistent and stale reads go on, and default reads do as quorum
// reads that say so. When the manager returns the leader is the same, under the same
// appointment and in the same raft term, and has its lease again.
func TestManagersAreNotInTheDataPath(t *testing.T) {
	long(t)
	length := 5 * time.Second
	if full() {
		length = time.Minute
	}
	c := startCluster(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	l.more(1 << 16)
	o := &outage{c: c, volume: volume, load: l, leader: c.mustLeader(volume.Group), reads: map[string]int{}}
	before, err := c.raftTerms(o.leader, volume.Group)
	if err != nil {
		t.Fatal(err)
	}
	fresh := c.client("v") // knows its route, and has used it never
	began := time.Now()
	c.manager.kill()
	time.Sleep(1500 * time.Millisecond) // longer than any lease
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	o.read(ctx)
	if s, err := fresh.Reader(ship.ReadConfig{}).State(c.within(5 * time.Second)); err != nil || s.Level != pinetree.ReadConsistent {
		t.Errorf("a client that has only its route reads %v, %v", s, err)
	}
	c.restartFollower(o)
	l.more(1 << 16)
	o.judge(began)

	c.manager.start()
	within(t, 20*time.Second, "leases after the manager's return", func() error {
		s, err := c.state(o.leader, volume.Volume, wirepb.ReadLevel_DEFAULT, time.Second)
		if err == nil && s.Served.Level != wirepb.ReadLevel_DEFAULT {
			err = errors.New("still a quorum read")
		}
		return err
	})
	time.Sleep(2 * time.Second) // for a manager that would move the leader
	after, err := c.raftTerms(o.leader, volume.Group)
	if err != nil || after != before {
		t.Errorf("before the manager was away, node %d: %s; after: %s, %v", o.leader.id, before, after, err)
	}
	if len(l.meter.changes) > 0 {
		t.Errorf("the writer was acknowledged by other nodes as well: %v", l.meter.changes)
	}
	c.verify(volume.Volume, l.end())
}

// judge reports what was read and written meanwhile.
func (o *outage) judge(began time.Time) {
	t := o.c.t
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	t.Logf("%v without a manager: %d bytes are acknowledged, the longest wait between two acknowledgements was %v; reads: %v",
		time.Since(began).Round(time.Millisecond), o.load.acked.Load(), o.load.meter.longest(began).Round(time.Millisecond), o.reads)
	for _, wrong := range o.wrong {
		t.Errorf("a read without a manager: %s", wrong)
	}
	for _, level := range []string{"STALE as STALE", "CONSISTENT as CONSISTENT", "DEFAULT as CONSISTENT"} {
		if o.reads[level] == 0 {
			t.Errorf("no read was answered as %s", level)
		}
	}
	if n := o.reads["DEFAULT as DEFAULT"]; n > 0 {
		t.Errorf("%d default reads claim a lease that nobody granted", n)
	}
}

// restartFollower lets a follower restart without a manager: it is a member again,
// from what it remembers.
func (c *cluster) restartFollower(o *outage) {
	c.t.Helper()
	follower := c.nodes[slices.IndexFunc(c.nodes, func(n *node) bool { return n != o.leader })]
	follower.kill()
	follower.start()
	within(c.t, 20*time.Second, "a follower that restarted reads", func() error {
		acked := o.load.acked.Load()
		s, err := c.state(follower, o.volume.Volume, wirepb.ReadLevel_CONSISTENT, time.Second)
		if err == nil && s.Served.Lsn < acked {
			err = fmt.Errorf("at %d, %d was acknowledged before", s.Served.Lsn, acked)
		}
		return err
	})
}
