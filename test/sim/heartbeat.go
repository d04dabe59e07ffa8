package sim

import (
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// heartbeatMessage is what a node says of itself, to every manager.
type heartbeatMessage struct {
	asked    lease.Instant // by the node's clock, before it was sent
	life     int
	statuses []*wirepb.ReplicaStatus
	fsync    time.Duration
}

func (n *node) heartbeat() {
	h := heartbeatMessage{asked: n.local(), life: n.life, fsync: n.disk.pending()}
	h.statuses = make([]*wirepb.ReplicaStatus, n.w.plan.groups)
	for _, m := range n.seats() {
		s, err := m.replica.Status()
		if err != nil {
			n.w.fail("%s: status: %w", n.name, err)
			return
		}
		if s.Quiet != m.quiet {
			n.w.mark(map[bool]Mark{true: WentQuiet, false: WokeUp}[s.Quiet])
		}
		m.quiet = s.Quiet
		stopped := ""
		if s.Stopped != nil {
			stopped = s.Stopped.Error()
		}
		h.statuses[m.group-1] = &wirepb.ReplicaStatus{
			Stopped: stopped,
			Leader:  s.Leader, Ready: s.Ready, Activated: s.Activated, RaftTerm: uint64(s.RaftTerm),
			Appointment: uint64(s.Appointment), Released: uint64(s.Released), QuorumAgeMs: uint32(s.QuorumAge.Milliseconds()), Quiet: s.Quiet,
			LastTerm: uint64(s.LastTerm), LastIndex: uint64(s.LastIndex),
			Committed: uint64(s.Committed), Applied: uint64(s.Applied.Index),
		}
	}
	for _, m := range n.w.managers {
		n.w.net.send(delivery{lane: lane{from: n.address, to: m.address}, mayRepeat: true}, func() {
			m.after(0, func() { m.onHeartbeat(n, h) })
		})
	}
}

// granted takes the grants that answer a heartbeat.
func (n *node) granted(h heartbeatMessage, grants []lease.Grant) {
	if n.life != h.life {
		return // the stream ended with the process
	}
	for _, g := range grants {
		if m := n.member(g.Group); m != nil {
			m.use(g, h.asked)
		}
	}
}

func (m *member) use(g lease.Grant, asked lease.Instant) {
	w := m.node.w
	if w.cfg.Mutant == CountFromReceipt {
		asked = m.node.local()
	}
	was, held := m.replica.Role(), m.view.Lease
	late := held != 0 && asked.Add(g.Duration) < held
	m.post(func(r *group.Replica) {
		counts := r.Grant(g, asked)
		m.granted.note(m, g, asked, counts)
		if counts {
			if late {
				w.mark(LateGrant)
			}
			return
		}
		w.mark(GrantUnused)
		if was.Released >= g.Appointment {
			w.mark(GrantAfterRelease)
		}
	})
}

// createVolumes asks nodes to make the volumes that are not there yet.
func (w *World) createVolumes() {
	for _, v := range w.volumes {
		if v.created {
			continue
		}
		n := pick(w, w.nodes)
		w.net.call(firstClient, &n.peer, func(answer func(func())) {
			n.post(v.group, func(r *group.Replica) {
				r.CreateVolume(v.id, v.format, func(err error) {
					answer(func() {
						if err == nil && !v.created {
							v.created = true
							w.newWriter(v)
						}
					})
				})
			})
		})
	}
}

// reader asks for volumes at random, at every level, and on any node.
type reader struct {
	w       *World
	address address
}

func (r *reader) ask() {
	w := r.w
	v := pick(w, w.volumes)
	if !v.created {
		return
	}
	q := &read{volume: v, level: pick(w, []pinetree.ReadLevel{
		pinetree.ReadDefault, pinetree.ReadDefault, pinetree.ReadConsistent, pinetree.ReadStale,
	})}
	q.floor, q.whole = w.hist.Floor(v.id), w.chance(0.02)
	if q.level == pinetree.ReadStale && w.chance(0.3) {
		q.minLSN = q.floor
	}
	n := pick(w, w.nodes)
	if leader := w.leader(v.group); leader != nil && q.level == pinetree.ReadDefault && w.chance(0.8) {
		n = leader
	}
	q.done = func(bool) {}
	w.net.call(r.address, &n.peer, func(func(func())) {
		if m := n.member(v.group); m != nil {
			m.serve(q)
		}
	})
}

// leader is a node that believes to lead a group: any of them when there are
// several.
func (w *World) leader(g pinetree.GroupID) *node {
	var found []*node
	for _, n := range w.nodes {
		if m := n.member(g); m != nil && n.up && m.role.Leads {
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return pick(w, found)
}
