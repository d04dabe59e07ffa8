// Package grants collects what a node is to hear next on its heartbeat stream: leases,
// and where its peers are. It decides none of it, and belongs to whoever does.
package grants

import (
	"cmp"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Bundle is what a node is to hear next on its heartbeat stream. Until it leaves,
// more is added to it, so that a node that loses many groups' leaders to another
// at once costs one message and no grant, and what waits is bounded by the number
// of groups.
type Bundle struct {
	Sequence uint64 // the heartbeat that is answered
	Grants   map[pinetree.GroupID]lease.Grant
	Peers    []*wirepb.NodeInfo // empty when the node knows them
}

// Grant adds a lease, in place of an older one of its group.
func (a *Bundle) Grant(g lease.Grant) {
	if a.Grants == nil {
		a.Grants = map[pinetree.GroupID]lease.Grant{}
	}
	a.Grants[g.Group] = g
}

// Add puts a later bundle into this one. The node counts its leases from when it
// began the heartbeat that is answered, so that is the older one: a grant must not
// last longer at the node than it was decided for.
func (a *Bundle) Add(later Bundle) {
	if len(a.Grants) == 0 || len(later.Grants) > 0 && later.Sequence < a.Sequence {
		a.Sequence = later.Sequence
	}
	for _, g := range later.Grants {
		a.Grant(g)
	}
	if len(later.Peers) > 0 {
		a.Peers = later.Peers
	}
}

// Response is the message that says it.
func (a *Bundle) Response() *wirepb.HeartbeatResponse {
	r := &wirepb.HeartbeatResponse{Sequence: a.Sequence, Peers: a.Peers}
	for _, g := range a.Grants {
		r.Grants = append(r.Grants, &wirepb.Grant{
			Group: uint64(g.Group), Appointment: uint64(g.Appointment),
			RaftTerm: uint64(g.Term), DurationMs: uint32(g.Duration.Milliseconds()),
		})
	}
	slices.SortFunc(r.Grants, func(a, b *wirepb.Grant) int { return cmp.Compare(a.Group, b.Group) })
	return r
}
