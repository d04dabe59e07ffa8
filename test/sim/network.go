package sim

import (
	"time"
)

// address names who sends and receives: nodes, managers, etcd, clients.
type address int

const (
	firstManager address = 100
	etcdAddress  address = 200
	firstClient  address = 1000
)

// lane keeps messages of one direction in order among themselves.
type lane struct {
	from, to address
	name     string
}

// network carries messages with delay, loss, repetition, and cuts of one
// direction or of both.
type network struct {
	w    *World
	last map[lane]time.Duration // when the newest message of a lane arrives
	cut  map[[2]address]int     // how many cuts are in force
	loss float64
	twin float64                      // probability of a second delivery
	slow float64                      // probability of a long delay
	lag  map[[2]address]time.Duration // what a link takes beyond that
}

func newNetwork(w *World) network {
	return network{w: w, last: map[lane]time.Duration{}, cut: map[[2]address]int{}, lag: map[[2]address]time.Duration{}}
}

// delivery says how a message is to be carried.
type delivery struct {
	lane lane
	// ordered messages arrive in the order in which they were sent.
	ordered bool
	// mayRepeat messages may arrive twice.
	mayRepeat bool
}

// send carries a message; it reports whether it was lost, which no sender may
// act on but those that see their connection break.
func (n *network) send(d delivery, deliver func()) (lost bool) {
	w := n.w
	if n.isCut(d.lane.from, d.lane.to) || w.chance(n.loss) {
		return true
	}
	n.carry(d, deliver)
	if d.mayRepeat && w.chance(n.twin) {
		n.carry(delivery{lane: d.lane}, deliver)
	}
	return false
}

func (n *network) carry(d delivery, deliver func()) {
	w := n.w
	delay := w.span(w.plan.delay)
	if w.chance(n.slow) {
		delay = w.span(w.plan.longDelay)
	}
	at := w.now + delay + n.lag[[2]address{d.lane.from, d.lane.to}]
	if d.ordered {
		at = max(at, n.last[d.lane]+1)
		n.last[d.lane] = at
	}
	w.after(at-w.now, func() {
		// What was on its way when the link was cut is lost, too, in some worlds.
		if !w.plan.cutsFlights || !n.isCut(d.lane.from, d.lane.to) {
			deliver()
		}
	})
}

func (n *network) isCut(from, to address) bool { return n.cut[[2]address{from, to}] > 0 }

// cutFor cuts one direction for a time.
func (n *network) cutFor(from, to address, d time.Duration) {
	key := [2]address{from, to}
	n.cut[key]++
	n.w.after(d, func() { n.cut[key]-- })
}

// cutBothFor cuts both directions for a time.
func (n *network) cutBothFor(a, b address, d time.Duration) {
	n.cutFor(a, b, d)
	n.cutFor(b, a, d)
}

// lagFor makes one direction of a link slow for a time.
func (n *network) lagFor(from, to address, lag, d time.Duration) {
	key := [2]address{from, to}
	n.lag[key] += lag
	n.w.after(d, func() { n.lag[key] -= lag })
}

// call is a request to a process and its answer, either of which may be lost.
func (n *network) call(from address, to *peer, handle func(answer func(func()))) {
	request := delivery{lane: lane{from: from, to: to.address}}
	n.send(request, func() {
		to.process.after(0, func() {
			handle(func(answered func()) {
				n.send(delivery{lane: lane{from: to.address, to: from}}, answered)
			})
		})
	})
}

// peer is a process that can be called.
type peer struct {
	address address
	process *process
}
