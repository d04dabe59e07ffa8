package reign

import (
	"cmp"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// reply is what a node is to hear next on its heartbeat stream. Until it leaves,
// more is added to it, so that a node that loses many groups' leaders to another
// at once costs one message and no grant, and what waits is bounded by the number
// of groups.
type reply struct {
	sequence uint64 // the heartbeat that is answered
	grants   map[pinetree.GroupID]lease.Grant
	peers    []*wirepb.NodeInfo
}

func (a *reply) grant(g lease.Grant) {
	if a.grants == nil {
		a.grants = map[pinetree.GroupID]lease.Grant{}
	}
	a.grants[g.Group] = g
}

// add puts a later reply into this one. The node counts its leases from when it
// began the heartbeat that is answered, so that is the older one: a grant must not
// last longer at the node than it was decided for.
func (a *reply) add(later reply) {
	if len(a.grants) == 0 || len(later.grants) > 0 && later.sequence < a.sequence {
		a.sequence = later.sequence
	}
	for _, g := range later.grants {
		a.grant(g)
	}
	if len(later.peers) > 0 {
		a.peers = later.peers
	}
}

func (a *reply) response() *wirepb.HeartbeatResponse {
	r := &wirepb.HeartbeatResponse{Sequence: a.sequence, Peers: a.peers}
	for _, g := range a.grants {
		r.Grants = append(r.Grants, &wirepb.Grant{
			Group: uint64(g.Group), Appointment: uint64(g.Appointment),
			RaftTerm: uint64(g.Term), DurationMs: uint32(g.Duration.Milliseconds()),
		})
	}
	slices.SortFunc(r.Grants, func(a, b *wirepb.Grant) int { return cmp.Compare(a.Group, b.Group) })
	return r
}
