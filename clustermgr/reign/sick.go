package reign

import (
	"errors"

	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// replaceTask has a sick leader hand over to a healthier replica, within a pause
// that is longer than an operator's: it serves badly anyway. When that has failed
// twice for one that cannot lead, another one is elected against it.
func (r *Reign) replaceTask(g *group, s policy.Step) func() error {
	if s.Hard && g.failures%3 == 2 {
		return r.electTask(g, s)
	}
	m, err := r.planMove(&wirepb.MoveLeaderRequest{Group: uint64(g.id)}, s.To)
	m.pause *= 3
	m.why = s.Reason + "; " + m.why
	return func() error {
		if err != nil {
			return err
		}
		response, err := r.carryOut(m)
		if err == nil && !response.GetMoved() {
			err = errors.New(response.GetReason())
		}
		return err
	}
}

// leaders adds what the leaders of groups and their followers report to a
// comparison of the nodes.
func (r *Reign) leaders(paces *policy.Paces) {
	for _, g := range r.groups {
		leader := r.leader(g)
		if leader == nil {
			continue
		}
		var others []*wirepb.ReplicaStatus
		for _, id := range g.Is.Members() {
			if n := r.nodes[id]; n != nil && n != leader {
				others = append(others, n.replicas[g.id])
			}
		}
		paces.Group(leader.Is.ID, leader.replicas[g.id], others)
	}
}

// cure is the task of a step that takes the leadership from a sick node: when it
// has, the node goes into quarantine.
func (r *Reign) cure(s policy.Step, task func() error) func() error {
	return func() error {
		err := task()
		if err == nil {
			r.tell(func() {
				if n := r.nodes[s.Node]; n != nil {
					r.ward.Convict(&n.Node, s.Reason)
				}
			})
		}
		return err
	}
}
