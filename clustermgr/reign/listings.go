package reign

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// list makes an answer in the owner's goroutine.
func list[A any](ctx context.Context, r *Reign, build func() (*A, error)) (answer *A, err error) {
	if e := r.do(ctx, func() { answer, err = build() }); e != nil {
		return nil, e
	}
	return answer, err
}

// ListNodes describes all nodes, or the one that is asked for, if there is one.
func (r *Reign) ListNodes(ctx context.Context, q *wirepb.ListNodesRequest) (*wirepb.ListNodesResponse, error) {
	return list(ctx, r, func() (*wirepb.ListNodesResponse, error) {
		answer := &wirepb.ListNodesResponse{}
		for _, n := range r.sortedNodes() {
			if q.GetNode() == 0 || q.GetNode() == uint64(n.Is.ID) {
				answer.Nodes = append(answer.Nodes, r.nodeInfo(n))
			}
		}
		return answer, nil
	})
}

func (r *Reign) nodeInfo(n *node) *wirepb.NodeInfo {
	info := r.ward.Info(&n.Node)
	for _, g := range r.groups {
		if slices.Contains(g.Is.Members(), n.Is.ID) {
			info.Replicas++
		}
		if r.leader(g) == n {
			info.Leaders++
		}
	}
	return info
}

// ListGroups describes all groups, or the one that is asked for: then its leader
// is asked how far the replicas are.
func (r *Reign) ListGroups(ctx context.Context, q *wirepb.ListGroupsRequest) (*wirepb.ListGroupsResponse, error) {
	if q.GetGroup() != 0 {
		return r.showGroup(ctx, q)
	}
	return list(ctx, r, func() (*wirepb.ListGroupsResponse, error) {
		answer := &wirepb.ListGroupsResponse{}
		for _, id := range slices.Sorted(maps.Keys(r.groups)) {
			answer.Groups = append(answer.Groups, r.groupInfo(r.groups[id]))
		}
		members.CountVolumes(r.volumes, answer.Groups...)
		return answer, nil
	})
}

// ListVolumes describes all volumes, or the one of a name.
func (r *Reign) ListVolumes(ctx context.Context, q *wirepb.ListVolumesRequest) (*wirepb.ListVolumesResponse, error) {
	return list(ctx, r, func() (*wirepb.ListVolumesResponse, error) {
		answer := &wirepb.ListVolumesResponse{}
		for _, id := range slices.Sorted(maps.Keys(r.volumes)) {
			if v := r.volumes[id].Is; !v.Deleted && (q.GetName() == "" || q.GetName() == v.Name) {
				answer.Volumes = append(answer.Volumes, r.volumeInfo(v))
			}
		}
		return answer, nil
	})
}

// ListLeases describes the leases of all groups, by this manager's count.
func (r *Reign) ListLeases(ctx context.Context, _ *wirepb.ListLeasesRequest) (*wirepb.ListLeasesResponse, error) {
	return list(ctx, r, func() (*wirepb.ListLeasesResponse, error) {
		answer := &wirepb.ListLeasesResponse{}
		now := r.cfg.Clock()
		for _, id := range slices.Sorted(maps.Keys(r.groups)) {
			g := r.groups[id]
			record := g.Is.Lease
			answer.Leases = append(answer.Leases, &wirepb.LeaseInfo{
				Group: uint64(id), Node: uint64(record.Holder), Appointment: uint64(record.Held), RaftTerm: uint64(record.Term),
				LeftMs: g.granter.Left(now).Milliseconds(), Grants: g.grants, Reason: r.why(g),
			})
		}
		return answer, nil
	})
}

// Route tells where a volume's replicas are, who leads, and what each replica is
// good for.
func (r *Reign) Route(ctx context.Context, q *wirepb.RouteRequest) (*wirepb.RouteResponse, error) {
	return list(ctx, r, func() (*wirepb.RouteResponse, error) {
		id := pinetree.VolumeID(q.GetVolume())
		if q.GetVolumeName() != "" {
			id = r.names[q.GetVolumeName()]
		}
		k := r.volumes[id]
		if k == nil || k.Is.Deleted {
			return nil, refuse(pinetree.ErrUnknownVolume, "there is no volume %s; `volume ls` lists those that are", cmp.Or(q.GetVolumeName(), "of that id"))
		}
		info := r.volumeInfo(k.Is)
		answer := &wirepb.RouteResponse{Volume: info, Leader: info.GetLeader()}
		g, now := r.groups[k.Is.Group], r.cfg.Clock()
		for _, m := range r.situation(g, now).Members {
			if n := r.nodes[m.Node]; n != nil && slices.Contains(g.Is.Voters, m.Node) {
				answer.Replicas = append(answer.Replicas, r.ward.Info(&n.Node))
				answer.States = append(answer.States, policy.RouteTo(m, id, &g.progress, now))
			}
		}
		return answer, nil
	})
}
