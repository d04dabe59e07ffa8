package reign

import (
	"fmt"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
)

// seat is a replica of a group as of now, for a task beside the owner.
type seat struct {
	policy.Answer       // what it last reported; nil when its node is not alive
	node          *node // only for the owner
	target        orders.Target
	health        policy.Health
}

func (r *Reign) seats(g *group) []seat {
	wall := time.Now()
	var list []seat
	for _, id := range g.Is.Members() {
		s := seat{Answer: policy.Answer{Node: id, Leaders: r.led[id]}, health: policy.Dead}
		if n := r.nodes[id]; n != nil {
			s.node, s.target, s.Zone, s.health = n, n.target(), n.Is.Zone, r.health(n)
			s.Avoid = r.ward.Unwanted(&n.Node, wall)
			if s.health == policy.Alive {
				s.Status = n.replicas[g.id]
			}
		}
		list = append(list, s)
	}
	return list
}

// electTask chooses and appoints a leader.
func (r *Reign) electTask(g *group, s policy.Step) func() error {
	seats := r.seats(g)
	w := policy.Wish{
		Voters: len(seats), Home: g.Is.HomeZone, Not: s.Node, Lag: r.cfg.MoveLagEntries, Fresh: r.cfg.Lease.MaxQuorumAge,
		Group: g.id,
	}
	dead := 0
	for _, s := range seats {
		if s.health == policy.Dead {
			dead++
		}
	}
	return func() error {
		answers := make([]policy.Answer, len(seats))
		targets := make([]orders.Target, len(seats))
		for i, s := range seats {
			if answers[i] = s.Answer; s.health != policy.Dead || 2*dead >= len(seats) {
				targets[i] = s.target // others would be waited for in vain
			}
		}
		for i, status := range r.dial.Collect(r.ctx, g.id, targets) {
			answers[i].Status = status
		}
		chosen, err := policy.Choose(answers, w)
		if err != nil {
			return fmt.Errorf("%s; %w", s.Reason, err)
		}
		cause := s.Reason
		if chosen.Avoid != "" {
			cause += "; " + chosen.Avoid + ", and no other replica can win"
		}
		return r.appoint(g, find(seats, chosen.Node), decision{floor: policy.NewestAppointment(answers), cause: cause, inputs: policy.Inputs(answers)})
	}
}

// adoptTask makes a live leader the appointed one.
func (r *Reign) adoptTask(g *group, s policy.Step) func() error {
	leader := find(r.seats(g), s.Node)
	return func() error {
		return r.appoint(g, leader, decision{floor: policy.NewestAppointment([]policy.Answer{leader.Answer}), cause: s.Reason})
	}
}

// appoint makes an appointment and waits until the node leads.
func (r *Reign) appoint(g *group, to seat, d decision) error {
	d.to = to.Node
	id, err := r.decree(g, d)
	if err != nil {
		return err
	}
	status, err := r.dial.Appoint(r.ctx, to.target, orders.Appointment{Group: g.id, ID: id})
	if err != nil {
		return err
	}
	r.tell(func() {
		r.heardOf(g, to.node, status)
		r.settle(g)
	})
	return nil
}

// decision is who is to lead a group and why.
type decision struct {
	to     pinetree.NodeID
	floor  pinetree.AppointmentID // highest that any replica has heard of
	keep   time.Duration          // for how long nobody but an operator is to change it for the better
	cause  string
	inputs string // what it was chosen by
}

// decree durably makes the next appointment of a group, above every one that a
// replica has heard of.
func (r *Reign) decree(g *group, d decision) (pinetree.AppointmentID, error) {
	var next ledger.Group
	err := r.persist(r.ctx, func() (ledger.Decision, error) {
		next = g.Is
		next.Lease.Node = d.to
		next.Lease.Appointment = max(next.Lease.Appointment, d.floor) + 1
		next.KeptUntil = 0
		if d.keep > 0 {
			next.KeptUntil = time.Now().Add(d.keep).UnixMilli()
		}
		return ledger.Decide(
			ledger.Event{Kind: "appointed", Group: g.id, Node: d.to, Appointment: next.Lease.Appointment, Cause: d.cause, Inputs: d.inputs},
			g.Put(next.Key(), next)), nil
	}, func(revision int64) {
		r.led[g.Is.Lease.Node]--
		r.led[d.to]++
		g.Is, g.Revision = next, revision
		g.granter.Recorded(next.Lease)
		g.claimed, g.waiting = false, false
	})
	if err != nil {
		return 0, fmt.Errorf("appointing node %d: %w", d.to, err)
	}
	return next.Lease.Appointment, nil
}

func find(seats []seat, id pinetree.NodeID) seat {
	return seats[slices.IndexFunc(seats, func(s seat) bool { return s.Node == id })]
}
