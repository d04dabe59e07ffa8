package sim

import (
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
)

// Theme is what kind of trouble a run has mostly.
type Theme int

// The themes.
const (
	Mixed Theme = iota + 1
	Crashes
	Pauses
	Cuts
	ManagerTrouble
	Duels
	Changes
	LostDisks
	Leases // never drawn
	themes // one above the last
)

// String names the theme.
func (t Theme) String() string {
	return [...]string{"none", "mixed", "crashes", "pauses", "cuts", "manager trouble", "duels", "changes of members", "lost disks", "leases"}[t]
}

// faults of a theme, each as often as it is to happen.
func (w *World) faults() []func() {
	switch w.plan.theme {
	case Crashes:
		return []func(){w.crashOne, w.crashLeader, w.crashAll, w.flap, w.flap, w.slowDisk, w.failDisk, w.badNetwork, w.takeOver}
	case Pauses:
		return []func(){w.pauseOne, w.pauseLeader, w.pauseLeader, w.managerFault, w.crashLeader, w.slowDisk, w.takeOver}
	case Cuts:
		return []func(){w.isolate, w.isolateLeader, w.isolateLeader, w.oneWay, w.split, w.fromManagers, w.badNetwork, w.clientFault, w.takeOver}
	case ManagerTrouble:
		return []func(){w.managerFault, w.managerFault, w.fromManagers, w.isolateLeader, w.deposeBoth, w.gang, w.gang, w.gang, w.pauseLeader, w.badNetwork}
	case Changes:
		return []func(){w.crashOne, w.crashLeader, w.isolate, w.isolateLeader, w.oneWay, w.badNetwork, w.pauseOne, w.slowDisk, w.flap, w.takeOver, w.managerFault}
	case LostDisks:
		return []func(){w.loseDisk, w.loseDisk, w.loseDisk, w.crashLeader, w.flap, w.isolate, w.isolateLeader, w.badNetwork, w.pauseLeader, w.takeOver}
	case Leases:
		return w.leaseFaults()
	case Duels:
		return []func(){w.duel, w.coup, w.coup, w.coup, w.flap, w.oneWay, w.badNetwork, w.takeOver}
	}
	return []func(){
		w.crashOne, w.crashOne, w.crashLeader, w.crashAll, w.pauseOne, w.pauseLeader, w.pauseLeader,
		w.isolate, w.isolateLeader, w.oneWay, w.split, w.fromManagers, w.badNetwork, w.slowDisk,
		w.managerFault, w.managerFault, w.takeOver, w.takeOver, w.clientFault, w.flap, w.duel, w.coup, w.gang, w.failDisk,
	}
}

// trouble makes faults, one after the other, until they are over.
func (w *World) trouble() {
	w.after(w.span(w.plan.between), func() {
		if !w.calm {
			pick(w, w.faults())()
			w.trouble()
		}
	})
}

// calmWriting is for how long writers go on after the faults, so that groups
// which make no progress have something to fail at.
const calmWriting = time.Second

// endTrouble lets the last faults run out.
func (w *World) endTrouble() {
	w.calm = true
	w.plan.slow = 0
	w.net.loss, w.net.twin, w.net.slow = 0, 0, 0
	w.note("world", "faults are over")
	w.after(calmWriting, func() { w.closing = true })
}

// a fault's length: mostly short, at times longer than any lease.
func (w *World) faultTime() time.Duration {
	if w.chance(0.3) {
		return w.span(between{time.Second, 4 * time.Second})
	}
	return w.span(between{10 * time.Millisecond, 1200 * time.Millisecond})
}

func (w *World) anyLeader() *node {
	if n := w.leader(groupNumber(w.rng.IntN(w.plan.groups))); n != nil {
		return n
	}
	return pick(w, w.nodes)
}

func (w *World) crash(n *node) {
	n.crash(w.chance(0.7))
	n.restartIn(w.span(between{50 * time.Millisecond, 2500 * time.Millisecond}))
}

func (w *World) crashOne()    { w.crash(pick(w, w.nodes)) }
func (w *World) crashLeader() { w.crash(w.anyLeader()) }

// flap crashes a node again and again, with short lives.
func (w *World) flap() {
	n := pick(w, w.nodes)
	w.crash(n)
	for i := range 3 {
		at := time.Duration(i+1) * w.span(between{60 * time.Millisecond, 400 * time.Millisecond})
		w.after(at, func() {
			n.crash(w.chance(0.7))
			n.restartIn(w.span(between{time.Millisecond, 50 * time.Millisecond}))
		})
	}
}

// duel has two nodes follow an old order to lead at about the same time, and a
// third one crash while it is asked for its vote. A late order, like a confused
// manager, may cost availability and nothing else.
func (w *World) duel() {
	w.mark(Duel)
	g, order := groupNumber(w.rng.IntN(w.plan.groups)), w.rng.Perm(len(w.nodes))
	a, b, third := w.nodes[order[0]], w.nodes[order[1]], w.nodes[order[2]]
	w.net.cutBothFor(a.address, b.address, w.span(between{0, 100 * time.Millisecond}))
	w.obey(a, g, w.span(between{0, 20 * time.Millisecond}))
	w.obey(b, g, w.span(between{0, 20 * time.Millisecond}))
	w.after(w.span(between{0, 40 * time.Millisecond}), func() {
		third.crash(w.chance(0.7))
		third.restartIn(w.span(between{0, 20 * time.Millisecond}))
	})
}

// coup has one node win an election and be cut off at once, while a voter
// crashes and another node is told to lead.
func (w *World) coup() {
	order := w.rng.Perm(len(w.nodes))
	a, b, voter := w.nodes[order[0]], w.nodes[order[1]], w.nodes[order[2]]
	g := groupNumber(w.rng.IntN(w.plan.groups))
	w.obey(a, g, 0)
	strike := w.span(between{2 * time.Millisecond, 30 * time.Millisecond})
	w.after(strike, func() {
		w.cutOffFor(a, w.span(between{200 * time.Millisecond, time.Second}))
		voter.crash(w.chance(0.7))
		voter.restartIn(w.span(between{0, 20 * time.Millisecond}))
	})
	w.obey(b, g, strike+w.span(between{10 * time.Millisecond, 100 * time.Millisecond}))
}

// obey has a node follow the last order to lead that it has heard of, again, or
// the first one of all, which may have been for another node.
func (w *World) obey(n *node, g pinetree.GroupID, in time.Duration) {
	n.after(in, func() {
		n.post(g, func(r *group.Replica) {
			if s, err := r.Status(); err == nil {
				r.Appoint(group.Appointment{ID: max(1, s.Appointment)}, func(error) {})
			}
		})
	})
}

// gang lets several things happen to a leader at about the same time.
func (w *World) gang() {
	n := w.anyLeader()
	for range 2 + w.rng.IntN(2) {
		d := w.faultTime()
		fault := pick(w, []func(){
			func() { n.pause(d) },
			func() { w.crash(n) },
			func() { w.cutOffFor(n, d) },
			func() { w.cutFromManagers(n, d) },
			func() { w.slowDiskFor(n, d) },
			func() { w.lagBehind(n, d) },
			func() { w.oneWayFor(n, d) },
		})
		w.after(w.span(between{0, 400 * time.Millisecond}), fault)
	}
}

// lagBehind makes what the managers say to a node come late.
func (w *World) lagBehind(n *node, d time.Duration) {
	lag := w.span(between{50 * time.Millisecond, 700 * time.Millisecond})
	w.note(n.name, "hears the managers late, µs", uint64(lag.Microseconds()))
	for _, m := range w.managers {
		w.net.lagFor(m.address, n.address, lag, d)
	}
}

// crashAll is a power cut of everything, which is repaired at about one time.
func (w *World) crashAll() {
	if !w.chance(0.5) {
		return
	}
	w.mark(PowerCut)
	for _, n := range w.nodes {
		n.crash(true)
		n.restartIn(w.span(between{100 * time.Millisecond, time.Second}))
	}
}

func (w *World) pauseOne() { pick(w, w.nodes).pause(w.faultTime()) }

func (w *World) pauseLeader() {
	n, d := w.anyLeader(), w.faultTime()
	if n.up && d > w.plan.rules.Duration {
		w.mark(LongPause)
	}
	n.pause(d)
}

// others are the nodes but one.
func (w *World) others(n *node) []*node {
	var list []*node
	for _, other := range w.nodes {
		if other != n {
			list = append(list, other)
		}
	}
	return list
}

// cutOff cuts a node off from all other nodes, not from clients and managers.
func (w *World) cutOff(n *node) { w.cutOffFor(n, w.faultTime()) }

func (w *World) cutOffFor(n *node, d time.Duration) {
	w.note(n.name, "is cut off from its peers for µs", uint64(d.Microseconds()))
	for _, other := range w.others(n) {
		w.net.cutBothFor(n.address, other.address, d)
	}
	if w.chance(0.5) {
		w.cutFromManagers(n, d)
	}
}

func (w *World) isolate()       { w.cutOff(pick(w, w.nodes)) }
func (w *World) isolateLeader() { w.cutOff(w.anyLeader()) }

// oneWay cuts one direction: to or from one node, for some or all peers.
func (w *World) oneWay() { w.oneWayFor(w.anyLeader(), w.faultTime()) }

func (w *World) oneWayFor(n *node, d time.Duration) {
	w.mark(OneWayCut)
	from, all := w.chance(0.5), w.chance(0.5)
	w.note(n.name, "is cut off in one direction for µs", bit(from), uint64(d.Microseconds()))
	for _, other := range w.others(n) {
		if !all && w.chance(0.5) {
			continue
		}
		if from {
			w.net.cutFor(n.address, other.address, d)
		} else {
			w.net.cutFor(other.address, n.address, d)
		}
	}
}

// split divides the nodes into two halves.
func (w *World) split() {
	d := w.faultTime()
	side := make([]bool, len(w.nodes))
	for i := range side {
		side[i] = w.chance(0.5)
	}
	w.note("network", "is split for µs", uint64(d.Microseconds()))
	for i, a := range w.nodes {
		for j, b := range w.nodes[:i] {
			if side[i] != side[j] {
				w.net.cutBothFor(a.address, b.address, d)
			}
		}
	}
}

func (w *World) fromManagers() { w.cutFromManagers(w.anyLeader(), w.faultTime()) }

func (w *World) cutFromManagers(n *node, d time.Duration) {
	w.note(n.name, "is cut off from the managers for µs", uint64(d.Microseconds()))
	for _, m := range w.managers {
		if w.chance(0.8) {
			w.net.cutBothFor(n.address, m.address, d)
		}
	}
}

// badNetwork loses, repeats and delays messages for a while.
func (w *World) badNetwork() {
	w.net.loss, w.net.twin, w.net.slow = 0.2*w.rng.Float64(), 0.2*w.rng.Float64(), 0.1*w.rng.Float64()
	w.note("network", "is bad")
	w.after(w.faultTime(), func() { w.net.loss, w.net.twin, w.net.slow = 0, 0, w.plan.slow })
}

// slowDisk makes a node's fsyncs take long, some of them very long.
func (w *World) slowDisk() { w.slowDiskFor(w.anyLeader(), w.faultTime()) }

func (w *World) slowDiskFor(n *node, d time.Duration) {
	least := w.span(between{5 * time.Millisecond, 400 * time.Millisecond})
	w.note(n.name, "has a slow disk, µs", uint64(least.Microseconds()))
	n.disk.slow = between{least, 3 * least}
	w.after(d, func() { n.disk.slow = w.plan.fsync })
}

// failDisk makes a node's next write fail, for good. After a while somebody
// restarts the node.
func (w *World) failDisk() {
	n := w.anyLeader()
	if !n.up {
		return
	}
	n.disk.log.Fail()
	w.after(w.span(between{100 * time.Millisecond, 3 * time.Second}), func() {
		n.crash(true)
		n.restartIn(w.span(between{50 * time.Millisecond, time.Second}))
	})
}

// managerFault crashes, pauses or cuts off the manager that is active, or both.
func (w *World) managerFault() {
	m, d := pick(w, w.managers), w.faultTime()
	if owner := w.etcd.owner; owner != nil && w.chance(0.7) {
		m = owner
	}
	switch w.rng.IntN(3) {
	case 0:
		w.note(m.name, "crashes")
		m.kill()
		w.after(d, func() {
			if !m.up {
				m.boot()
			}
		})
	case 1:
		m.pause(d)
	case 2:
		w.note(m.name, "is cut off from etcd for µs", uint64(d.Microseconds()))
		w.net.cutBothFor(m.address, etcdAddress, d)
	}
}

// deposeBoth cuts the active manager off from etcd and a leader off from
// everybody but that manager: two who believe in each other, and nobody else.
func (w *World) deposeBoth() {
	old, n, d := w.etcd.owner, w.anyLeader(), w.span(between{2 * time.Second, 4 * time.Second})
	if old == nil {
		return
	}
	w.note(n.name, "and its manager are cut off together for µs", uint64(d.Microseconds()))
	w.net.cutBothFor(old.address, etcdAddress, d)
	for _, m := range w.managers {
		if m != old {
			w.net.cutBothFor(n.address, m.address, d)
		}
	}
	w.after(w.span(between{0, 1500 * time.Millisecond}), func() {
		for _, other := range w.others(n) {
			w.net.cutBothFor(n.address, other.address, d)
		}
	})
}

// takeOver starts another writer for a volume, at times two at once.
func (w *World) takeOver() {
	v := pick(w, w.volumes)
	if !v.created || len(v.writers) > 12 {
		return
	}
	w.newWriter(v)
	if w.chance(0.2) {
		w.newWriter(v)
	}
}

// clientFault cuts a writer off from a node.
func (w *World) clientFault() {
	v := pick(w, w.volumes)
	if len(v.writers) == 0 {
		return
	}
	c := v.writers[len(v.writers)-1]
	w.net.cutBothFor(c.address, pick(w, w.nodes).address, w.faultTime())
}
