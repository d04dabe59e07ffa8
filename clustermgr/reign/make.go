package reign

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// replicaTask has every voter that lives make its replica.
func (r *Reign) replicaTask(g *group) func() error {
	record := g.Is
	var missing []members.Maker
	for _, s := range r.seats(g) {
		if !g.placed[s.Node] {
			missing = append(missing, members.Maker{Target: orders.Target{Node: s.Node, Address: s.target.Address}, Health: s.health})
		}
	}
	return func() error {
		return r.hands.MakeReplicas(r.ctx, &g.Kept, record, missing, func(id pinetree.NodeID) { g.placed[id] = true })
	}
}

// volumeTask tells the leader of the volumes that its group does not have yet, or
// still has.
func (r *Reign) volumeTask(g *group, leader orders.Target) func() error {
	var volumes []ledger.Volume
	for _, id := range slices.Sorted(maps.Keys(g.pending)) {
		volumes = append(volumes, r.volumes[id].Is)
	}
	return func() error {
		for _, v := range volumes {
			find := func() *ledger.Kept[ledger.Volume] { return r.volumes[v.ID] }
			order, then := r.hands.MakeVolume, func() { delete(g.pending, v.ID) }
			if v.Deleted {
				order, then = r.hands.DropVolume, func() { delete(g.pending, v.ID); delete(r.volumes, v.ID) }
			}
			if err := order(r.ctx, leader, v, find, then); err != nil {
				return err
			}
		}
		return nil
	}
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
	case g.granter.Left(now) == 0 && r.leader(g) != nil && r.leader(g).replicas[g.id].GetQuiet():
		return "nobody wants anything of it, so it rests and needs no lease"
	case g.granter.Left(now) == 0:
		return fmt.Sprintf("node %d has not asked for the lease lately", g.Is.Lease.Node)
	}
	return ""
}

// groupInfo describes a group, but for how many volumes it has. It runs in the
// owner's goroutine.
func (r *Reign) groupInfo(g *group) *wirepb.GroupInfo {
	info := &wirepb.GroupInfo{
		Group: uint64(g.id), HomeZone: g.Is.HomeZone, Appointment: uint64(g.Is.Lease.Appointment),
		RaftTerm: uint64(g.Is.Lease.Term), Reason: r.why(g),
	}
	info.Voters = members.Numbers(g.Is.Voters)
	info.Removed = members.Numbers(slices.Sorted(maps.Keys(g.Is.Removed)))
	info.Change = members.InWords(g.Is.Change, g.changeNote)
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
		info.Learners = members.Learners(n.replicas[g.id], info.Voters)
		info.Leased = g.Is.Lease.Activated() && g.granter.Left(r.cfg.Clock()) > 0
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
