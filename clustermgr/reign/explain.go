package reign

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

// explain tells in words how a group is. It runs in the owner's goroutine.
func (r *Reign) explain(g *group) []string {
	now := r.cfg.Clock()
	a := policy.Account{
		Situation: r.situation(g, now), Thresholds: r.ward.Thresholds(), Signs: map[pinetree.NodeID]policy.Sign{}, Office: r.owner.Claimed(now),
		Verdict: g.verdict, Claimed: g.claimed, Left: g.granter.Left(now), Doing: g.busy, Change: members.InWords(g.Is.Change, g.changeNote), Volumes: len(g.pending),
	}
	for id := range g.pending {
		if r.volumes[id].Is.Deleted {
			a.Deleted++
		}
	}
	if g.failures > 0 {
		a.Failed, a.Again = g.reason, g.retryAt.Sub(now)
	}
	for _, m := range a.Members {
		if n := r.nodes[m.Node]; n != nil {
			a.Signs[m.Node] = policy.Sign{Silence: n.Vitals.Silence(now), Refused: n.Vitals.Refused()}
		}
	}
	return policy.Explain(a)
}
