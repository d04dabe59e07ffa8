package logservice

import (
	"context"
	"fmt"
	"strings"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// ChangeMembership implements wirepb.NodeServer.
func (s *adminService) ChangeMembership(ctx context.Context, q *wirepb.ChangeMembershipRequest) (*wirepb.ChangeMembershipResponse, error) {
	g, err := s.node.host.Group(pinetree.GroupID(q.Group))
	if err != nil {
		return nil, err
	}
	status, err := g.Status(ctx)
	if err != nil {
		return nil, err
	}
	// An order that was decided on other members, and comes late, could undo what
	// was decided since.
	if at := pinetree.RaftIndex(q.MembersAt); at != status.MembersAt {
		return nil, badRequest("a change of the members of group %d as of index %d, which are others since index %d; look at them and decide anew", q.Group, at, status.MembersAt)
	}
	change := membership.Change{Add: nodeIDs(q.Add), Promote: nodeIDs(q.Promote), Remove: nodeIDs(q.Remove)}
	if _, err := g.ChangeMembership(ctx, change); err != nil {
		return nil, err
	}
	s.node.agent.poke()
	if status, err = g.Status(ctx); err != nil {
		return nil, err
	}
	return &wirepb.ChangeMembershipResponse{Status: replicaStatus(status)}, nil
}

// RemoveReplica implements wirepb.NodeServer.
func (s *adminService) RemoveReplica(ctx context.Context, q *wirepb.RemoveReplicaRequest) (*wirepb.RemoveReplicaResponse, error) {
	id := pinetree.GroupID(q.Group)
	if q.Deleted {
		if err := s.node.host.DeleteReplica(ctx, id); err != nil {
			return nil, err
		}
		s.node.agent.poke()
		return &wirepb.RemoveReplicaResponse{}, nil
	}
	if g, err := s.node.host.Group(id); err == nil {
		status, err := g.Status(ctx)
		if err != nil {
			return nil, err
		}
		if err := stillMember(status, pinetree.RaftIndex(q.AsOf)); err != nil {
			return nil, err
		}
	}
	if err := s.node.host.RemoveReplica(ctx, id); err != nil {
		return nil, err
	}
	s.node.agent.poke()
	return &wirepb.RemoveReplicaResponse{}, nil
}

// stillMember refuses to remove a replica that has replayed its group's log up to
// where it was no member, and is one: it was added again. One that has not come
// so far may be a member by what it knows, and was removed all the same.
func stillMember(s group.Status, asOf pinetree.RaftIndex) error {
	for _, id := range append(s.Voters[:len(s.Voters):len(s.Voters)], s.Learners...) {
		if id == s.Node && !s.Removed && s.Applied.Index >= asOf {
			return fmt.Errorf("%w: node %d was no member of group %d at index %d, and is one again at index %d; its replica stays", pinetree.ErrExists, s.Node, s.Group, asOf, s.Applied.Index)
		}
	}
	return nil
}

func nodeIDs(numbers []uint64) []pinetree.NodeID {
	ids := make([]pinetree.NodeID, len(numbers))
	for i, n := range numbers {
		ids[i] = pinetree.NodeID(n)
	}
	return ids
}

// memberProgress is what a leader knows of its members, on the wire.
func memberProgress(members []group.Member) []*wirepb.MemberProgress {
	var list []*wirepb.MemberProgress
	for _, m := range members {
		list = append(list, &wirepb.MemberProgress{
			Node: uint64(m.Node), Learner: m.Learner, Match: uint64(m.Match), State: strings.ToLower(strings.TrimPrefix(m.State, "State")),
			Active: m.Active, SilentMs: milliseconds(m.Silent), Snapshot: uint64(m.Snapshot),
		})
	}
	return list
}
