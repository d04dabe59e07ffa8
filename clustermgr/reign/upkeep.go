package reign

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/upkeep"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// chores is when the whole cluster is looked at. It belongs to the reign's owner.
type chores struct {
	news  bool          // something has changed since
	waits bool          // time alone may make something due
	next  lease.Instant // not before here
	due   lease.Instant // at the latest then; zero when nothing may become due
}

// upkeep looks at the whole cluster and starts what is due as operations on
// groups. It costs nothing while nothing happens and nothing is waited for.
func (r *Reign) upkeep(now lease.Instant) {
	due := r.chores.due != 0 && now >= r.chores.due
	if now < r.chores.next || !r.chores.news && !r.chores.waits && !due {
		return
	}
	c := r.snapshot(now)
	leaders := upkeep.Leaders(c, r.cfg.Leaders)
	pace := r.cfg.UpkeepPace
	if !leaders.Urgent {
		pace *= 4
	}
	r.chores = chores{next: now.Add(pace), waits: leaders.Waits || leaders.Urgent}
	for _, n := range r.nodes {
		n.Note = leaders.Notes[n.Is.ID]
	}
	for _, m := range leaders.Moves {
		r.relocate(m)
	}
	r.tend(c, now)
}

// relocate begins a move that upkeep wants. One that cannot be made now is
// wanted again when the cluster is looked at again.
func (r *Reign) relocate(wanted upkeep.Move) {
	g := r.groups[wanted.Group]
	if g == nil || g.busy != "" || r.operations >= r.cfg.MaxOperations {
		return
	}
	m, err := r.planMove(&wirepb.MoveLeaderRequest{Group: uint64(wanted.Group), To: uint64(wanted.To)}, nil)
	if err != nil {
		return
	}
	m.why = wanted.Why + "; " + m.why
	r.begin(m, func(*wirepb.MoveLeaderResponse) {})
}

// snapshot is the whole cluster as upkeep sees it.
func (r *Reign) snapshot(now lease.Instant) upkeep.Cluster {
	c := upkeep.Cluster{Nodes: make([]upkeep.Node, 0, len(r.nodes)), Groups: make([]upkeep.Group, 0, len(r.groups)), Weighed: now.Sub(r.weighed)}
	t := census{reign: r, now: now, wall: time.Now(), health: make(map[pinetree.NodeID]policy.Health, len(r.nodes))}
	for _, n := range r.nodes {
		t.health[n.Is.ID] = n.Vitals.Health(now, r.ward.Thresholds())
	}
	members := 0
	for _, g := range r.groups {
		members += len(g.Is.Voters) + 1
	}
	t.replicas = make([]upkeep.Replica, 0, members)
	replicas, former := make(map[pinetree.NodeID]int, len(r.nodes)), map[pinetree.NodeID]int{}
	for _, id := range slices.Sorted(maps.Keys(r.groups)) {
		g := t.group(r.groups[id])
		for _, replica := range g.Replicas {
			replicas[replica.Node]++
		}
		for id := range r.groups[id].Is.Removed {
			former[id]++
		}
		c.Groups = append(c.Groups, g)
	}
	for _, g := range r.deleted {
		for id := range g.Is.Removed {
			former[id]++
		}
	}
	for _, n := range r.sortedNodes() {
		lasting := now.Sub(max(n.Since(), r.since))
		c.Nodes = append(c.Nodes, upkeep.Node{
			ID: n.Is.ID, Zone: n.Is.Zone, Health: t.health[n.Is.ID],
			Lasting: lasting, Steady: min(lasting, t.wall.Sub(time.UnixMilli(n.Is.QuarantinedUntil))),
			Draining: n.Is.Draining, Leaving: n.Is.Leaving, Quarantined: n.Is.Quarantined(t.wall) || r.ward.Slow(n.Is.ID) != "",
			Leaders: r.led[n.Is.ID], Replicas: replicas[n.Is.ID], Former: former[n.Is.ID], Full: n.Full(),
		})
	}
	return c
}

// census is what the snapshot of each group needs, found out once.
type census struct {
	reign    *Reign
	now      lease.Instant
	wall     time.Time
	health   map[pinetree.NodeID]policy.Health
	replicas []upkeep.Replica // of all groups, so that they are allocated once
}

func (t *census) group(g *group) upkeep.Group {
	s := upkeep.Group{
		ID: g.id, Home: g.Is.HomeZone, Created: g.Is.Created, Moving: g.busy == moving,
		Kept: t.wall.UnixMilli() < g.Is.KeptUntil, Settled: t.now.Sub(max(g.settled, t.reign.since.Add(-t.reign.cfg.OfficeClaim))),
	}
	members := g.Is.Members()
	from := policy.Answer{Node: g.Is.Lease.Node}
	if n := t.reign.nodes[from.Node]; n != nil && t.health[from.Node] != policy.Dead && slices.Contains(members, from.Node) {
		from.Status = n.replicas[g.id]
	}
	if from.Status.GetLeader() && pinetree.AppointmentID(from.Status.GetAppointment()) == g.Is.Lease.Appointment {
		s.Leader, s.Led = from.Node, g.busy == "" && g.Is.Lease.Activated() && t.health[from.Node] == policy.Alive
	} else {
		from.Status = nil
	}
	begin := len(t.replicas)
	for _, id := range members {
		replica := upkeep.Replica{Node: id}
		if n := t.reign.nodes[id]; n != nil && s.Leader != 0 && id != s.Leader {
			replica.Unfit = policy.Unfit(from, policy.Answer{Node: id, Status: n.replicas[g.id]}, policy.Wish{Lag: t.reign.cfg.MoveLagEntries})
		}
		t.replicas = append(t.replicas, replica)
	}
	s.Replicas = t.replicas[begin:len(t.replicas):len(t.replicas)]
	t.reign.describe(&s, g, from.Status, t.now)
	return s
}

// DrainNode serves DrainNode.
func (r *Reign) DrainNode(ctx context.Context, q *wirepb.DrainNodeRequest) (*wirepb.NodeInfo, error) {
	id, drain := pinetree.NodeID(q.GetNode()), !q.GetUndrain()
	err := r.hands.Mark(ctx, func() (*members.Node, error) {
		if n := r.nodes[id]; n != nil {
			return &n.Kept, nil
		}
		return nil, members.Unknown(id, r.counters.Is.Node)
	}, func(n *ledger.Node) { n.Draining = drain }, members.Either(drain, "node_draining", "node_undrained"))
	if err != nil {
		return nil, err
	}
	return list(ctx, r, func() (*wirepb.NodeInfo, error) {
		if n := r.nodes[id]; n != nil {
			return r.nodeInfo(n), nil
		}
		return nil, members.Unknown(id, r.counters.Is.Node)
	})
}
