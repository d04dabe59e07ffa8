package picker

import (
	"math"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
)

const (
	// forget is how long a measured latency counts, by half: a node that was slow
	// is tried again, though nobody asks it and nothing new is measured.
	forget = 10 * time.Second
	// weight is that of the newest latency in the usual one.
	weight = 0.3
	// avoid is how long a node that failed is asked last; it doubles with each
	// failure in a row, up to maxAvoid.
	avoid, maxAvoid = time.Second, 16 * time.Second
	// lagging replicas are asked last even by those who set no bound, and notice
	// is the lag that heartbeats are too slow to tell from none.
	lagging, notice = 10 * time.Second, 500 * time.Millisecond
	// trust is how old a route may be to say that a replica does not serve or is
	// behind: without a manager it is not known any more.
	trust = 15 * time.Second
	// clearly is the difference in load, in thousandths, that counts.
	clearly = 100
)

// Replica is what a route says of one replica.
type Replica struct {
	Node pinetree.NodeID
	Zone string
	// Serves is false when its node or the replica is known to be down.
	Serves  bool
	Applied pinetree.LSN
	// Behind is for how long it has not been up to date; zero when it is.
	Behind time.Duration
	// Load is how busy its node is, in thousandths of its processors.
	Load uint32
}

// Wish is what a read needs.
type Wish struct {
	Zone   string        // where the reader is; empty when it does not matter
	MinLSN pinetree.LSN  // a state no older than this
	Stale  time.Duration // no staler than this; zero is no bound
	// Spare, when not zero, is a node that comes after its equals: the leader, when
	// what is asked for takes long and others can give it as well.
	Spare pinetree.NodeID
}

// Picker knows the replicas of one volume.
type Picker struct {
	random  func(n int) int
	routed  time.Time
	known   []Replica
	measure map[pinetree.NodeID]*measure
}

// measure is what came of the reads that were sent to a node.
type measure struct {
	latency  float64 // usual seconds of late, as of at
	at       time.Time
	underWay int
	applied  pinetree.LSN
	failures int // in a row
	until    time.Time
}

// New makes a Picker that knows nobody. random gives a number below n.
func New(random func(n int) int) *Picker {
	return &Picker{random: random, measure: map[pinetree.NodeID]*measure{}}
}

// Route takes in a fresh route. What was measured stays.
func (p *Picker) Route(replicas []Replica, now time.Time) {
	p.known, p.routed = slices.Clone(replicas), now
	for node, m := range p.measure {
		if m.underWay == 0 && !slices.ContainsFunc(replicas, func(r Replica) bool { return r.Node == node }) {
			delete(p.measure, node)
		}
	}
}

// Order lists all replicas, the one to ask first before the others: those of the
// reader's zone, then all others, then those that are not fit for the wish as
// far as is known, then those that failed. Among equals, the better one of two
// taken at random comes first, so that many readers with the same knowledge do
// not all take the same one.
func (p *Picker) Order(w Wish, now time.Time) []pinetree.NodeID {
	var classes [4][]Replica
	for _, r := range p.known {
		c := p.class(r, w, now)
		classes[c] = append(classes[c], r)
	}
	order := make([]pinetree.NodeID, 0, len(p.known))
	for _, rest := range classes {
		for len(rest) > 0 {
			at := p.choose(rest, w.Spare, now)
			order = append(order, rest[at].Node)
			rest = slices.Delete(rest, at, at+1)
		}
	}
	return order
}

func (p *Picker) class(r Replica, w Wish, now time.Time) int {
	trusted := now.Sub(p.routed) < trust
	switch m := p.of(r.Node); {
	case now.Before(m.until), trusted && !r.Serves:
		return 3
	case trusted && !fit(r, m, w):
		return 2
	case w.Zone != "" && r.Zone != w.Zone:
		return 1
	}
	return 0
}

// fit tells whether a replica is fresh enough, as far as is known. One that is
// not behind reaches any LSN in a moment, whatever it was at when it was asked.
func fit(r Replica, m *measure, w Wish) bool {
	limit := time.Duration(lagging)
	if w.Stale > 0 {
		limit = max(w.Stale, notice)
	}
	if max(r.Applied, m.applied) < w.MinLSN {
		limit = min(limit, notice)
	}
	return r.Behind <= limit
}

// choose takes two of a list at random and returns the index of the better one.
// The spare node is chosen when it is the only one.
func (p *Picker) choose(list []Replica, spare pinetree.NodeID, now time.Time) int {
	if len(list) == 1 {
		return 0
	}
	if at := slices.IndexFunc(list, func(r Replica) bool { return r.Node == spare }); at >= 0 {
		last := len(list) - 1
		list[at], list[last] = list[last], list[at]
		return p.choose(list[:last], 0, now)
	}
	a := p.random(len(list))
	b := p.random(len(list) - 1)
	if b >= a {
		b++
	}
	if p.better(list[b], list[a], now) {
		return b
	}
	return a
}

// better compares what is surely different only: a latency of twice as much and
// a millisecond more, then reads under way, then load.
func (p *Picker) better(a, b Replica, now time.Time) bool {
	ma, mb := p.of(a.Node), p.of(b.Node)
	la, lb := ma.usual(now), mb.usual(now)
	const least = 0.001
	switch {
	case 2*la < lb && lb-la > least, 2*lb < la && la-lb > least:
		return la < lb
	case ma.underWay != mb.underWay:
		return ma.underWay < mb.underWay
	}
	return a.Load+clearly <= b.Load
}

func (p *Picker) of(node pinetree.NodeID) *measure {
	m := p.measure[node]
	if m == nil {
		m = &measure{}
		p.measure[node] = m
	}
	return m
}

// Begin counts a read that is sent to a node. One call of Served, Failed or Left
// ends it.
func (p *Picker) Begin(node pinetree.NodeID) { p.of(node).underWay++ }

// Served ends a read that a node answered with the state at an LSN, zero when it
// answered without one. So is took when it says nothing, because the read waited.
func (p *Picker) Served(node pinetree.NodeID, at pinetree.LSN, took time.Duration, now time.Time) {
	m := p.of(node)
	m.underWay--
	m.applied = max(m.applied, at)
	m.failures, m.until = 0, time.Time{}
	if took > 0 {
		m.took(took, now)
	}
}

// Failed ends a read that a node could not answer.
func (p *Picker) Failed(node pinetree.NodeID, now time.Time) {
	m := p.of(node)
	m.underWay--
	m.until = now.Add(min(avoid<<min(m.failures, 10), maxAvoid))
	m.failures++
}

// Left ends a read whose answer nobody waits for any more. It says that the node
// takes at least so long.
func (p *Picker) Left(node pinetree.NodeID, after time.Duration, now time.Time) {
	m := p.of(node)
	m.underWay--
	if after.Seconds() > m.usual(now) {
		m.took(after, now)
	}
}

func (m *measure) took(d time.Duration, now time.Time) {
	if usual := m.usual(now); usual > 0 {
		m.latency = usual + weight*(d.Seconds()-usual)
	} else {
		m.latency = d.Seconds()
	}
	m.at = now
}

func (m *measure) usual(now time.Time) float64 {
	return m.latency * math.Exp2(-float64(now.Sub(m.at))/float64(forget))
}
