package reign

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// replicaTask has every voter that lives make its replica, side by side, and
// records when all have. What was made before is no error at the node, so it
// may be begun anew after a restart of the manager.
func (r *Reign) replicaTask(g *group) func() error {
	voters := g.Is.Voters
	missing := slices.DeleteFunc(r.seats(g), func(s seat) bool { return g.placed[s.Node] })
	return func() error {
		var all sync.WaitGroup
		failures := make([]error, len(missing))
		for i, s := range missing {
			if s.health != policy.Alive {
				failures[i] = fmt.Errorf("node %d, which is to have a replica, is %s", s.Node, s.health)
				continue
			}
			all.Go(func() {
				if failures[i] = r.dial.CreateReplica(r.ctx, s.target, g.id, voters); failures[i] == nil {
					r.tell(func() { g.placed[s.Node] = true })
				}
			})
		}
		all.Wait()
		if err := cmp.Or(failures...); err != nil {
			return err
		}
		var next ledger.Group
		return r.persist(r.ctx, func() ([]ledger.Change, error) {
			next = g.Is
			next.Created = true
			return []ledger.Change{g.Put(next.Key(), next)}, nil
		}, func(revision int64) {
			g.Is, g.Revision = next, revision
			r.event(ledger.Event{Kind: "group_created", Group: g.id, Cause: "every voter has its replica"})
		})
	}
}

// volumeTask tells the leader of the volumes that its group does not have yet.
func (r *Reign) volumeTask(g *group, leader orders.Target) func() error {
	var volumes []ledger.Volume
	for _, id := range slices.Sorted(maps.Keys(g.pending)) {
		volumes = append(volumes, r.volumes[id].Is)
	}
	return func() error {
		for _, v := range volumes {
			if err := r.makeVolume(g, leader, v); err != nil {
				return err
			}
		}
		return nil
	}
}

func (r *Reign) makeVolume(g *group, leader orders.Target, v ledger.Volume) error {
	err := r.dial.CreateVolume(r.ctx, leader, &wirepb.NodeCreateVolumeRequest{
		Group: uint64(g.id), Volume: uint64(v.ID), Format: uint32(v.Format),
	})
	if err != nil {
		return err
	}
	v.Ready = true
	return r.persist(r.ctx, func() ([]ledger.Change, error) {
		if r.volumes[v.ID] == nil {
			return nil, nil // deleted meanwhile
		}
		return []ledger.Change{r.volumes[v.ID].Put(v.Key(), v)}, nil
	}, func(revision int64) {
		*r.volumes[v.ID] = ledger.Kept[ledger.Volume]{Is: v, Revision: revision}
		delete(g.pending, v.ID)
		r.event(ledger.Event{Kind: "volume_created", Group: g.id, Cause: "the group has it", Outcome: fmt.Sprintf("volume %d, %s", v.ID, v.Name)})
	})
}

// why says why a group has no leader or its leader no lease; empty when it has.
func (r *Reign) why(g *group) string {
	now := r.cfg.Clock()
	s := policy.Decide(r.situation(g, now))
	switch {
	case r.leader(g) != nil && g.Is.Lease.Activated() && g.granter.Left(now) > 0 && r.owner.Claimed(now):
		return ""
	case !r.owner.Claimed(now):
		return "the manager's store does not confirm its office, so it grants nothing"
	case g.busy != "" && g.reason != "":
		return fmt.Sprintf("about to %s: %s", g.busy, g.reason)
	case g.busy != "":
		return "about to " + g.busy
	case g.reason != "":
		return g.reason
	case s.Reason != "":
		return s.Reason
	case g.claimed && g.verdict != lease.Granted && g.granter.Left(now) == 0:
		return g.verdict.String()
	case !g.Is.Lease.Activated():
		return "its leader is not activated yet"
	case g.granter.Left(now) == 0:
		return fmt.Sprintf("node %d has not asked for the lease lately", g.Is.Lease.Node)
	}
	return ""
}

// groupInfo describes a group. It runs in the owner's goroutine.
func (r *Reign) groupInfo(g *group) *wirepb.GroupInfo {
	info := &wirepb.GroupInfo{
		Group: uint64(g.id), HomeZone: g.Is.HomeZone, Appointment: uint64(g.Is.Lease.Appointment),
		RaftTerm: uint64(g.Is.Lease.Term), Reason: r.why(g),
	}
	info.Voters = numbers(g.Is.Voters)
	info.Removed = numbers(slices.Sorted(maps.Keys(g.Is.Removed)))
	if c := g.Is.Change; c != nil {
		info.Change = strings.TrimSuffix(fmt.Sprintf("%s: %s", policy.Change{Add: c.Add, Remove: c.Remove}, g.changeNote), ": ")
	}
	for _, id := range g.Is.Members() {
		replica := &wirepb.ReplicaInfo{Node: uint64(id)}
		if n := r.nodes[id]; n != nil {
			replica.Status = n.replicas[g.id]
		}
		info.Replicas = append(info.Replicas, replica)
	}
	if n := r.leader(g); n != nil {
		info.Leader = uint64(n.Is.ID)
		info.RaftTerm = n.replicas[g.id].GetRaftTerm()
		info.Learners = n.replicas[g.id].GetLearners()
		info.Leased = g.Is.Lease.Activated() && g.granter.Left(r.cfg.Clock()) > 0
	}
	for _, v := range r.volumes {
		if v.Is.Group == g.id {
			info.Volumes++
		}
	}
	return info
}

func (r *Reign) volumeInfo(v ledger.Volume) *wirepb.VolumeInfo {
	info := &wirepb.VolumeInfo{Volume: uint64(v.ID), Name: v.Name, Group: uint64(v.Group), Format: uint32(v.Format)}
	g := r.groups[v.Group]
	if g == nil {
		return info
	}
	n := r.leader(g)
	if n == nil {
		return info
	}
	info.Leader = uint64(n.Is.ID)
	for _, s := range n.replicas[g.id].GetVolumes() {
		if pinetree.VolumeID(s.GetVolume()) == v.ID {
			info.CommittedLsn, info.ComputeTerm = s.GetCommittedLsn(), s.GetComputeTerm()
		}
	}
	return info
}

func numbers(ids []pinetree.NodeID) []uint64 {
	var list []uint64
	for _, id := range ids {
		list = append(list, uint64(id))
	}
	return list
}
