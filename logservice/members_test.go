package logservice

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// status is what a node says of its replica of group 1.
func (c *cluster) status(at int) (*wirepb.ReplicaStatus, error) {
	s, err := wirepb.NewNodeClient(c.members[at].conn).Status(c.ctx(), &wirepb.StatusRequest{Group: 1})
	if err != nil {
		return nil, err
	}
	return s.Replicas[0], nil
}

// TestOrdersThatComeLateChangeNothing adds a replica, takes it away and lets the
// orders of before arrive once more.
func TestOrdersThatComeLateChangeNothing(t *testing.T) {
	c := startCluster(t, 4)
	all := c.members
	c.members, c.voters = all[:3], c.voters[:3]
	c.group(0, pinetree.FormatOpaque)
	c.members = all
	w := c.open(0, &wirepb.OpenRequest{})
	b := w.batch(10, []byte("before"))
	w.send(b)
	w.await(b.LSN)
	leader, fourth := wirepb.NewNodeClient(all[0].conn), wirepb.NewNodeClient(all[3].conn)
	if _, err := fourth.CreateReplica(c.ctx(), &wirepb.CreateReplicaRequest{Group: 1, Blank: true, Voters: []uint64{4}}); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Errorf("a blank replica that knows voters: %v", err)
	}
	for range 2 {
		if _, err := fourth.CreateReplica(c.ctx(), &wirepb.CreateReplicaRequest{Group: 1, Blank: true}); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := c.status(3); err != nil || !s.Blank || s.LastIndex != 0 || len(s.Voters) != 0 {
		t.Fatalf("a blank replica: %v, %v", s, err)
	}
	var orders []*wirepb.ChangeMembershipRequest
	change := func(q *wirepb.ChangeMembershipRequest) *wirepb.ReplicaStatus {
		t.Helper()
		var answer *wirepb.ChangeMembershipResponse
		c.eventually("the members change", func() error {
			s, err := c.status(0)
			if err != nil {
				return err
			}
			q.Group, q.MembersAt = 1, s.MembersAt
			answer, err = leader.ChangeMembership(c.ctx(), q)
			return err
		})
		orders = append(orders, q)
		return answer.Status
	}
	if s := change(&wirepb.ChangeMembershipRequest{Add: []uint64{4}}); !slices.Equal(s.Learners, []uint64{4}) || !slices.Equal(s.Voters, c.voters) {
		t.Fatalf("after the addition: %v", s)
	}
	if s := change(&wirepb.ChangeMembershipRequest{Promote: []uint64{4}}); !slices.Equal(s.Voters, []uint64{1, 2, 3, 4}) || len(s.Learners) != 0 {
		t.Fatalf("after the promotion: %v", s)
	}
	s, err := c.status(0)
	if err != nil || len(s.Members) != 4 || s.Members[3].Node != 4 || s.Members[3].State != "replicate" || s.Members[3].Match == 0 || !s.Members[3].Active {
		t.Errorf("the leader says of its members: %v, %v", s, err)
	}
	c.eventually("the new replica has what was written before", func() error {
		state, err := all[3].reads().State(c.ctx(), &wirepb.StateRequest{Volume: 7, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE}})
		if err == nil && state.GetWatermarks().GetApplied() != uint64(b.LSN) {
			err = fmt.Errorf("%v", state)
		}
		return err
	})
	c.eventually("the leader, too, has heard that the snapshot arrived", func() error {
		if n := all[0].node.network.SnapshotStats(); n.Sent == 0 || n.SentBytes == 0 {
			return fmt.Errorf("%+v", n)
		}
		return nil
	})
	c.refuseRemoval(t, 3, 1, pinetree.ErrExists, "is one again")
	c.refuseRemoval(t, 0, math.MaxUint64, pinetree.ErrBadBatch, "move the leadership first")

	after := change(&wirepb.ChangeMembershipRequest{Remove: []uint64{4}})
	if !slices.Equal(after.Voters, c.voters) {
		t.Fatalf("after the removal: %v", after)
	}
	for _, late := range orders {
		if _, err := leader.ChangeMembership(c.ctx(), late); !errors.Is(err, pinetree.ErrBadBatch) || !strings.Contains(err.Error(), "which are others since") {
			t.Errorf("%v came late: %v", late, err)
		}
	}
	for range 2 {
		if _, err := fourth.RemoveReplica(c.ctx(), &wirepb.RemoveReplicaRequest{Group: 1, AsOf: after.Committed}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.status(3); !errors.Is(err, pinetree.ErrUnknownGroup) {
		t.Errorf("a replica that was removed: %v", err)
	}
}

// refuseRemoval orders a node to remove its replica and wants to be refused.
func (c *cluster) refuseRemoval(t *testing.T, at int, asOf uint64, is error, says string) {
	t.Helper()
	_, err := wirepb.NewNodeClient(c.members[at].conn).RemoveReplica(c.ctx(), &wirepb.RemoveReplicaRequest{Group: 1, AsOf: asOf})
	if !errors.Is(err, is) || !strings.Contains(err.Error(), says) {
		t.Errorf("want %v saying %q, got %v", is, says, err)
	}
	if s, err := c.status(at); err != nil || s.Stopped != "" {
		t.Errorf("the replica is harmed: %v, %v", s, err)
	}
}

// TestADeletedGroupIsGoneForGood deletes a group of which one replica leads, one
// follows, and one is on a node that is away. Those who use it hear of it, and an
// order to create it that comes late makes nothing.
func TestADeletedGroupIsGoneForGood(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	w := c.open(0, &wirepb.OpenRequest{})
	b := w.batch(10, []byte("before"))
	w.send(b)
	w.await(b.LSN)
	away := c.members[2]
	away.stop()
	for at, m := range c.members[:2] {
		node := wirepb.NewNodeClient(m.conn)
		for range 2 {
			if _, err := node.RemoveReplica(c.ctx(), &wirepb.RemoveReplicaRequest{Group: 1, Deleted: true}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.status(at); !errors.Is(err, pinetree.ErrUnknownGroup) {
			t.Errorf("node %d still has a replica: %v", at+1, err)
		}
		if _, err := m.reads().State(c.ctx(), &wirepb.StateRequest{Volume: 7, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE}}); !errors.Is(err, pinetree.ErrUnknownVolume) {
			t.Errorf("node %d still reads the volume: %v", at+1, err)
		}
		for _, late := range []*wirepb.CreateReplicaRequest{{Group: 1, Voters: c.voters}, {Group: 1, Blank: true}} {
			if _, err := node.CreateReplica(c.ctx(), late); !errors.Is(err, pinetree.ErrUnknownGroup) || !strings.Contains(err.Error(), "was deleted") {
				t.Errorf("node %d was ordered late to create the group, %v: %v", at+1, late, err)
			}
		}
		left, err := m.engines.Groups()
		if last, e := m.log.View(1).LastIndex(); err != nil || e != nil || len(left) > 0 || last != 0 {
			t.Errorf("node %d still has files: engines of %v, log up to %d; %v, %v", at+1, left, last, err, e)
		}
	}
	if err := w.fails(); !errors.Is(err, pinetree.ErrStopped) {
		t.Errorf("the writer heard %v", err)
	}
	away.start(c.manager.address)
	if s, err := c.status(2); err != nil || s.Stopped != "" {
		t.Fatalf("the one that was away: %v, %v", s, err)
	}
	if _, err := wirepb.NewNodeClient(away.conn).RemoveReplica(c.ctx(), &wirepb.RemoveReplicaRequest{Group: 1, Deleted: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.status(2); !errors.Is(err, pinetree.ErrUnknownGroup) {
		t.Errorf("the one that was away still has a replica: %v", err)
	}
}
