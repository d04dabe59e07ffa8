package reign

import (
	"maps"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// lookTurns is how many looks go by until a group that was found at rest is
// looked at again, if nothing is heard of it that would be a cause.
const lookTurns = 4

// look goes through everything that may need attention.
func (r *Reign) look() {
	now := r.cfg.Clock()
	everything := r.ward.Look(now, r.leaders)
	r.chores.news = r.chores.news || everything
	for _, n := range r.nodes {
		if n.Vitals.WantsProbe(now, r.ward.Thresholds()) {
			r.ask(n, now)
		}
	}
	r.turn++
	r.led = r.leading()
	for id, g := range r.groups {
		if everything || !g.rests || uint64(id)%lookTurns == r.turn%lookTurns {
			r.lookAt(g, now)
		}
	}
	for _, g := range r.deleted {
		r.lookAtReplicas(g, now)
	}
	r.upkeep(now)
}

func (r *Reign) health(n *node) policy.Health { return r.ward.Health(&n.Node, r.cfg.Clock()) }

// lookAt starts what the group needs, one operation at a time.
func (r *Reign) lookAt(g *group, now lease.Instant) {
	if g.waiting && g.granter.Free(g.Is.Lease.Node, now) {
		r.claimAgain(g)
	}
	r.lookAtReplicas(g, now)
	g.rests = false
	if g.busy != "" || g.Is.Deleted {
		return
	}
	s := policy.Decide(r.situation(g, now))
	if s.Action == policy.Rest && s.Reason == "" && len(g.pending) > 0 && g.Is.Lease.Activated() {
		s = policy.Step{Action: policy.MakeVolumes, Node: g.Is.Lease.Node}
	}
	if s.Action == policy.Rest {
		g.reason = s.Reason
		if s.Reason == "" {
			g.failures = 0
			g.rests = !g.waiting && g.Is.Change == nil && len(g.Is.Removed) == 0
		}
		return
	}
	if g.reason == "" {
		g.reason = s.Reason
	}
	settling := now < g.settled && (s.Action == policy.Elect || s.Action == policy.Adopt)
	if settling || now < g.retryAt || r.operations >= r.cfg.MaxOperations {
		return
	}
	task := r.task(g, s)
	if s.Sick {
		task = r.cure(s, task)
	}
	r.operate(g, s.Action.String(), task)
}

// task makes the operation of a step. It runs beside the owner.
func (r *Reign) task(g *group, s policy.Step) func() error {
	switch s.Action {
	case policy.MakeReplicas:
		return r.replicaTask(g)
	case policy.MakeVolumes:
		return r.volumeTask(g, r.nodes[s.Node].target())
	case policy.Adopt:
		r.event(ledger.Event{Kind: "unexpected_leader", Group: g.id, Node: s.Node, Appointment: g.Is.Lease.Appointment, Cause: s.Reason})
		return r.adoptTask(g, s)
	case policy.Replace:
		return r.replaceTask(g, s)
	default:
		return r.electTask(g, s)
	}
}

// operate runs one operation on a group beside the owner. A failed one is tried
// again later, when it is still needed.
func (r *Reign) operate(g *group, name string, task func() error) {
	g.busy = name
	r.operations++
	r.spawn(func() {
		err := task()
		r.tell(func() {
			now := r.cfg.Clock()
			g.busy = ""
			r.operations--
			if err != nil {
				wait := min(r.cfg.Retry<<min(g.failures, 10), r.cfg.MaxRetry)
				if g.failures == 0 && name != moving { // one for all tries; moves have their own
					r.event(ledger.Event{Kind: "not_done", Group: g.id, Cause: "could not " + name, Outcome: err.Error()})
				}
				g.failures++
				g.retryAt = now.Add(wait)
				g.reason = err.Error()
				r.log.Warn("could not "+name, "group", g.id, "reason", err, "again_in", wait)
			} else {
				g.reason = ""
			}
			r.lookAt(g, now)
			r.notify()
		})
	})
}

// situation gathers what is known of a group.
func (r *Reign) situation(g *group, now lease.Instant) policy.Situation {
	s := policy.Situation{Record: g.Is.Lease, Created: g.Is.Created, Placed: len(g.placed), Sick: r.cfg.SickAfter, Stall: r.cfg.StallAfter, Held: r.ward.Held()}
	wall := time.Now()
	for _, id := range g.Is.Members() {
		m := policy.Member{Node: id, Health: policy.Dead}
		if n := r.nodes[id]; n != nil {
			m.Health = n.Vitals.Health(now, r.ward.Thresholds())
			m.Reported = n.reported != 0
			m.Status = n.replicas[g.id]
			m.Age, m.FsyncPending = now.Sub(n.reported), n.FsyncPending
			m.Space, m.Slow, m.Avoid = n.Space, r.ward.Slow(id), r.ward.Unwanted(&n.Node, wall)
		}
		s.Members = append(s.Members, m)
	}
	return s
}

// settle keeps heartbeats that left before a change of leaders, and arrive
// after it, from being taken for news.
func (r *Reign) settle(g *group) { g.settled = r.cfg.Clock().Add(r.cfg.Heartbeat) }

// heardOf takes in the state of one replica that an order was answered with.
func (r *Reign) heardOf(g *group, n *node, status *wirepb.ReplicaStatus) {
	if status != nil {
		n.Vitals.Hear(r.cfg.Clock()) // who carries out an order lives, whatever became of its heartbeats
	}
	if status == nil || n.replicas == nil {
		return // its first report will tell
	}
	if known := n.replicas[g.id]; known.GetRaftTerm() > status.GetRaftTerm() {
		return
	}
	// The ages in the status are of now; those kept are as of the last report.
	since := r.cfg.Clock().Sub(n.reported).Milliseconds()
	status.QuorumAgeMs -= min(status.GetQuorumAgeMs(), uint32(max(since, 0)))
	n.replicas[g.id] = status
	r.released(g, n.Is.ID, pinetree.AppointmentID(status.GetReleased()))
	if n.Is.ID == g.Is.Lease.Node {
		r.claimAgain(g)
	}
	r.notify()
}

// leader is the node that leads the group under its newest appointment.
func (r *Reign) leader(g *group) *node {
	n := r.nodes[g.Is.Lease.Node]
	if n == nil || r.health(n) == policy.Dead || !slices.Contains(g.Is.Members(), n.Is.ID) {
		return nil
	}
	status := n.replicas[g.id]
	if !status.GetLeader() || pinetree.AppointmentID(status.GetAppointment()) != g.Is.Lease.Appointment {
		return nil
	}
	return n
}

// leading counts the groups that each node is appointed to lead.
func (r *Reign) leading() map[pinetree.NodeID]int {
	count := map[pinetree.NodeID]int{}
	for _, g := range r.groups {
		count[g.Is.Lease.Node]++
	}
	return count
}

func (r *Reign) sortedNodes() []*node {
	var list []*node
	for _, id := range slices.Sorted(maps.Keys(r.nodes)) {
		list = append(list, r.nodes[id])
	}
	return list
}
