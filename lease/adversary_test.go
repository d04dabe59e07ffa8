package lease

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pinetree-db/pinetree"
)

// The adversary runs nodes and managers against each other on virtual time:
// messages are late or lost, clocks run at rates within the drift bound and
// start anywhere, processes stop for a while, crash and restart, managers are
// replaced while the old one still believes in its office, and every leader
// always has the proof it is asked for. After each event, at most one node may
// believe to hold the lease.

// defect is a rule that the adversary's world leaves out on purpose.
type defect uint8

const (
	noDefect defect = iota
	countFromReceipt
	noDrift
	noWaitAfterFailover
	noReleaseFence
	noWaitAtAll
	releaseUnasked
)

func (d defect) String() string {
	return [...]string{"none", "holder counts from receipt", "no drift bound", "new manager does not wait",
		"a release is not for good", "manager does not wait", "manager takes a release request for the answer"}[d]
}

const (
	adversaryNodes = 3
	officeClaim    = 400 * time.Millisecond
)

// adversaryRules have a wide drift bound, so that clocks at its two ends make a
// difference that can be hit.
var adversaryRules = Rules{Duration: 600 * time.Millisecond, MaxDrift: 0.1}

type clock struct {
	base Instant
	at   int64 // true time of base
	rate float64
}

func (c *clock) read(now int64) Instant { return c.base + Instant(float64(now-c.at)*c.rate) }

func (c *clock) setRate(now int64, rate float64) {
	c.base, c.at, c.rate = c.read(now), now, rate
}

type event struct {
	at    int64
	order int
	do    func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// process is what can stop for a while: its events wait, its clock goes on.
type process struct {
	clock  clock
	paused int64 // true time until which nothing happens here
	life   int   // rises with each crash; messages to an older life are lost
	down   bool
}

type fakeNode struct {
	process
	holder Holder
	leads  pinetree.RaftTerm
	id     pinetree.NodeID
}

type fakeManager struct {
	process
	granter   Granter
	claimed   Instant // office is surely held until here, by its own clock
	revision  int     // of the record, as it knows it
	recording bool
	office    int
}

type world struct {
	random   *rand.Rand
	defect   defect
	now      int64
	order    int
	events   eventHeap
	nodes    []*fakeNode
	manager  *fakeManager
	office   int // durable: who is the active manager
	record   Record
	revision int
	term     pinetree.RaftTerm
	marks    map[string]int
	failure  string
}

func newWorld(seed uint64, d defect) *world {
	w := &world{random: rand.New(rand.NewPCG(seed, 1)), defect: d, now: 1, marks: map[string]int{}}
	for i := range adversaryNodes {
		n := &fakeNode{id: pinetree.NodeID(i + 1)}
		n.clock = w.newClock()
		n.holder = NewHolder(w.drift())
		w.nodes = append(w.nodes, n)
		w.after(w.upTo(150*time.Millisecond), func() { w.heartbeats(n) })
	}
	w.takeOffice()
	w.after(0, w.mischief)
	w.after(0, w.decide)
	return w
}

func (w *world) drift() float64 {
	if w.defect == noDrift {
		return 0
	}
	return adversaryRules.MaxDrift
}

func (w *world) rate() float64 {
	switch w.random.IntN(5) {
	case 0, 1:
		return 1 - adversaryRules.MaxDrift
	case 2, 3:
		return 1 + adversaryRules.MaxDrift
	}
	return 1 + adversaryRules.MaxDrift*(2*w.random.Float64()-1)
}

func (w *world) newClock() clock {
	return clock{base: Instant(1e15 + w.random.Int64N(1e15)), at: w.now, rate: w.rate()}
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.random.Int64N(int64(d))) }
func (w *world) chance(percent int) bool            { return w.random.IntN(100) < percent }

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.events, event{at: w.now + int64(d), order: w.order, do: do})
}

// deliver brings a message to a process, late or never, and not to a later
// life of it than the one it was sent to.
func (w *world) deliver(to *process, do func()) {
	if w.chance(10) {
		w.marks["message lost"]++
		return
	}
	delay := w.upTo(10 * time.Millisecond)
	if w.chance(15) {
		delay = w.upTo(900 * time.Millisecond)
	}
	life := to.life
	w.after(delay, func() { w.arrive(to, life, do) })
}

func (w *world) arrive(to *process, life int, do func()) {
	switch {
	case to.life != life || to.down:
		w.marks["message to a dead process"]++
	case to.paused > w.now:
		w.after(time.Duration(to.paused-w.now), func() { w.arrive(to, life, do) })
	default:
		do()
	}
}

func (w *world) run(length time.Duration) string {
	for w.now < int64(length) && w.failure == "" {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
		w.check()
	}
	return w.failure
}

func (w *world) check() {
	var believers []pinetree.NodeID
	for _, n := range w.nodes {
		if !n.down && n.holder.Expiry(n.leads) > n.clock.read(w.now) {
			believers = append(believers, n.id)
		}
	}
	if len(believers) > 1 && w.failure == "" {
		w.failure = fmt.Sprintf("at %v nodes %v all believe to hold the lease; record %+v", time.Duration(w.now), believers, w.record)
	}
}

// heartbeats is the node's half: ask, and use what is answered.
func (w *world) heartbeats(n *fakeNode) {
	w.after(150*time.Millisecond, func() { w.heartbeats(n) })
	if n.down || n.paused > w.now || n.leads == 0 {
		return
	}
	claim := Claim{Node: n.id, Appointment: n.holder.Appointment(), Term: n.leads}
	released := n.holder.Released()
	asked, life := n.clock.read(w.now), n.life
	m := w.manager
	w.deliver(&m.process, func() {
		m.granter.Release(n.id, released)
		w.ask(m, claim, func(g Grant) {
			if n.life == life {
				w.deliver(&n.process, func() { w.use(n, g, asked) })
			}
		})
	})
}

func (w *world) use(n *fakeNode, g Grant, asked Instant) {
	if w.defect == countFromReceipt {
		asked = n.clock.read(w.now)
	}
	held := n.holder.Expiry(n.leads) != 0
	switch {
	case !n.holder.Use(g, asked, n.leads):
		if g.Appointment <= n.holder.Released() {
			w.marks["grant after release refused"]++
		}
		w.marks["grant refused by the holder"]++
	case !held:
		w.marks["lease taken"]++
	default:
		w.marks["lease renewed"]++
	}
}

// ask is the manager's half: check the office, record an activation, grant.
func (w *world) ask(m *fakeManager, c Claim, send func(Grant)) {
	if m.clock.read(w.now) >= m.claimed {
		w.marks["office in doubt, no grant"]++
		return
	}
	if w.defect == noWaitAtAll {
		m.granter.free = 0
	}
	grant, verdict := m.granter.Ask(c, m.clock.read(w.now))
	w.marks[verdict.String()]++
	switch verdict {
	case RecordFirst:
		w.swap(m, m.granter.Activation(c), func() { w.marks["activated"]++ })
	case Granted:
		send(grant)
		m.granter.Answered(grant.Appointment, m.clock.read(w.now))
	}
}

// swap writes the record if the manager still is in office and nothing changed.
func (w *world) swap(m *fakeManager, r Record, done func()) {
	if m.recording {
		return
	}
	m.recording = true
	life := m.life
	w.after(w.upTo(30*time.Millisecond), func() {
		if m.life != life {
			return
		}
		ok := m.office == w.office && m.revision == w.revision
		if ok {
			w.record = r
			w.revision++
		}
		revision := w.revision
		w.arrive(&m.process, life, func() {
			m.recording = false
			if !ok {
				w.marks["write of a former manager refused"]++
				return
			}
			m.revision = revision
			m.granter.Recorded(r)
			done()
		})
	})
}

// takeOffice replaces the active manager; the old one may live on.
func (w *world) takeOffice() {
	w.office++
	m := &fakeManager{office: w.office, revision: w.revision}
	m.clock = w.newClock()
	rules := adversaryRules
	rules.MaxDrift = w.drift()
	local := m.clock.read(w.now)
	since := local.Add(time.Duration(float64(officeClaim) * (1 + rules.MaxDrift)))
	if w.defect == noWaitAfterFailover {
		since = local.Add(-rules.Wait())
	}
	m.granter = NewGranter(rules, w.record, since)
	w.manager = m
	w.verifyOffice(m)
}

func (w *world) verifyOffice(m *fakeManager) {
	if m.down {
		return
	}
	asked, life := m.clock.read(w.now), m.life
	w.after(w.upTo(20*time.Millisecond), func() {
		if m.office != w.office {
			return // found out, or never: the claim just ends
		}
		w.arrive(&m.process, life, func() {
			m.claimed = asked.Add(time.Duration(float64(officeClaim) * (1 - w.drift())))
		})
	})
	w.after(100*time.Millisecond, func() { w.verifyOffice(m) })
}
