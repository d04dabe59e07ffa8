package sim

import (
	"math/rand/v2"
	"time"

	"github.com/pinetree-db/pinetree"
)

// Of all that may happen, this theme lets happen what sets one holder of a lease
// against another: a leader that is alone with its lease, another one that comes
// up beside it, clients that find the new one at once, grants that are late, and
// managers that replace each other meanwhile.

// leasing makes a world for that, from the seed alone. The clocks are as far
// apart as the rules allow.
func (p *plan) leasing(cfg Config) {
	if p.theme != Leases {
		return
	}
	r := rand.New(rand.NewPCG(cfg.Seed, 0x6c6561736573))
	ms := time.Millisecond
	p.moves = 0.05
	p.between = between{200 * ms, 900 * ms}
	p.rules.Duration = time.Duration(500+r.IntN(1000)) * ms
	p.rules.MaxQuorumAge = p.rules.Duration
	p.waitFirst = p.waitFirst && r.IntN(4) == 0
	p.groups, p.volumes = 1+r.IntN(2), 1
}

// leaseFaults are the faults of this theme.
func (w *World) leaseFaults() []func() {
	return []func(){
		w.usurp, w.usurp, w.usurp, w.usurp, w.moveBehindBack, w.moveBehindBack, w.succession, w.succession, w.deposeBoth, w.gang, w.pauseLeader, w.managerFault,
	}
}

// usurp leaves a leader alone with clients and managers, or stops it for about as
// long as its lease, and has another node lead.
func (w *World) usurp() {
	g := groupNumber(w.rng.IntN(w.plan.groups))
	n := w.holder(g)
	if n == nil {
		return
	}
	w.mark(Usurped)
	d := w.span(between{w.plan.rules.Duration / 2, 3 * w.plan.rules.Duration})
	for _, other := range w.others(n) {
		w.net.cutBothFor(n.address, other.address, d)
	}
	w.note(n.name, "is alone with its lease for µs", uint64(d.Microseconds()))
	if w.chance(0.4) {
		w.lagBehind(n, d)
	}
	if w.chance(0.4) {
		nap := w.span(between{w.plan.rules.Duration / 4, w.plan.rules.Duration * 5 / 4})
		n.after(w.span(between{0, 300 * time.Millisecond}), func() { n.pause(nap) })
	}
	heir := pick(w, w.others(n))
	if w.chance(0.3) { // so that it is long until the heir has committed anything
		for _, other := range w.others(n) {
			if other != heir {
				w.slowDiskFor(other, d)
			}
		}
	}
	w.obey(heir, g, w.span(between{5 * time.Millisecond, 60 * time.Millisecond}))
	if w.chance(0.3) { // and it returns, whatever it has missed
		w.obey(n, g, w.span(between{0, d + d/4}))
	}
	w.followTo(heir, g)
}

// moveBehindBack makes what the managers say to a leader come late, and then
// leaves it alone: what was granted meets what was released.
func (w *World) moveBehindBack() {
	g := groupNumber(w.rng.IntN(w.plan.groups))
	n := w.holder(g)
	if n == nil {
		return
	}
	d := w.span(between{w.plan.rules.Duration / 2, 2 * w.plan.rules.Duration})
	w.lagBehind(n, d)
	for _, m := range w.managers {
		for _, c := range m.charges {
			if c.group == g && m.active() && !c.writing && c.granter.Record().Node == n.id {
				c.move(c.granter.Record())
				heir := w.nodes[c.granter.Record().Node-1]
				w.followTo(heir, g)
			}
		}
	}
	w.after(w.span(between{0, d / 2}), func() {
		for _, other := range w.others(n) {
			w.net.cutBothFor(n.address, other.address, d)
		}
	})
}

// succession replaces the active manager while leaders change.
func (w *World) succession() {
	m := w.etcd.owner
	if m == nil {
		return
	}
	d := w.span(between{sessionTime, 3 * sessionTime})
	if w.chance(0.5) {
		w.net.cutBothFor(m.address, etcdAddress, d) // it lives on
	} else {
		m.pause(d)
	}
	w.after(w.span(between{0, sessionTime * 3 / 2}), w.usurp)
}

// followTo has the clients of a group look for its leader on a node again and
// again, as those do that a router tells.
func (w *World) followTo(n *node, g pinetree.GroupID) {
	for i := range 20 {
		w.after(time.Duration(i+1)*120*time.Millisecond, func() {
			for _, v := range w.volumes {
				if v.group != g || len(v.writers) == 0 {
					continue
				}
				c := v.writers[len(v.writers)-1]
				if m := n.member(g); m != nil && m.role.Leads && !c.finished && !c.fenced &&
					(c.leader != n.id || !c.opened && w.now-c.heard > openTimeout/2) {
					c.leader = n.id
					c.connect()
				}
			}
		})
	}
}
