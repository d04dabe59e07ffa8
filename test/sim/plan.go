package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/test/sim/history"
)

// Config says which run it is.
type Config struct {
	Seed   uint64
	Mutant Mutant // a bug put in on purpose; none when empty
	// ReadsOnly waits for what a bug does to those who read: two holders of one
	// lease are no breach by themselves.
	ReadsOnly bool
	Theme     Theme     // what kind of trouble there is; drawn when zero
	Trace     io.Writer // when not nil, everything is written here as it happens
}

// plan is what a seed makes of the world.
type plan struct {
	nodes, groups, volumes int     // volumes of each group
	spares                 int     // nodes that begin without replicas; with them, members change
	installCrash           float64 // probability of a crash at a step of an installation
	streams, window        int
	keepEntries            pinetree.RaftIndex
	unordered              bool          // messages may overtake each other
	cutsFlights            bool          // a cut loses what is on its way
	waitFirst              bool          // nobody is appointed before the lease is over
	moves                  float64       // probability of a move at each tick
	slow                   float64       // probability that a message takes long, at all times
	silent, dead, sick     time.Duration // what managers make of a node
	patience               time.Duration // how long a new leader may take
	theme                  Theme
	trims                  bool          // no more of a volume is kept than is wanted
	trouble                time.Duration // for how long there are faults
	between                between       // from one fault to the next

	delay, longDelay, turn, fsync, apply, readStep, grantStep between
	cut, heartbeat, flush                                     time.Duration
	options                                                   group.Options
	rules                                                     lease.Rules
}

const (
	// troubleTime is how long a run has faults.
	troubleTime = 12 * time.Second
	// healTime is the bound within which a group must make progress and all
	// replicas be equal after the faults are over, the longest fault included.
	healTime = 30 * time.Second
	// maxDrift bounds the clocks' rates.
	maxDrift = 0.01
)

func (w *World) newPlan() plan {
	ms, us := time.Millisecond, time.Microsecond
	r := w.rng
	p := plan{
		nodes: 3, groups: 1 + r.IntN(3), volumes: 1 + r.IntN(2),
		streams: 1 + r.IntN(3), window: 4 + r.IntN(24),
		keepEntries: pinetree.RaftIndex(r.IntN(20)),
		unordered:   w.chance(0.2), cutsFlights: w.chance(0.5), waitFirst: w.chance(0.4),
		silent: w.span(between{220 * ms, 400 * ms}), dead: w.span(between{450 * ms, 1200 * ms}), sick: w.span(between{300 * ms, 1200 * ms}),
		patience: w.span(between{200 * ms, 900 * ms}),
		theme:    w.cfg.Theme, moves: 0.02, trouble: troubleTime, between: between{100 * ms, 1200 * ms},
		delay: between{100 * us, 3 * ms}, longDelay: between{20 * ms, 900 * ms},
		turn: between{0, 80 * us}, fsync: between{200 * us, 6 * ms}, apply: between{50 * us, 4 * ms},
		readStep: between{0, 2 * ms}, grantStep: between{0, ms},
		cut: w.span(between{6 * ms, 25 * ms}), heartbeat: 100 * ms,
		flush:   w.span(between{200 * ms, 2500 * ms}),
		options: group.DefaultOptions(),
		rules: lease.Rules{
			Duration: w.span(between{500 * ms, 1500 * ms}), MaxDrift: maxDrift,
			MaxQuorumAge: 600 * ms, MaxFsyncPending: 600 * ms,
		},
	}
	if drawn := Theme(1 + r.IntN(int(Changes)-1)); p.theme == 0 {
		p.theme = drawn
	}
	if w.chance(0.2) {
		p.nodes = 5
	}
	if w.chance(0.2) {
		p.delay, p.apply = between{ms, 30 * ms}, between{ms, 40 * ms}
	}
	p.slow = pick(w, []float64{0, 0.01, 0.05})
	p.options.MaxDrift = maxDrift
	p.options.QuietAfter = w.span(between{150 * ms, 1500 * ms})
	if w.chance(0.3) {
		// Limits so narrow that they are met.
		p.options.MaxInflightBytes = 400 + r.IntN(2000)
		p.options.MaxEntryBytes = 150 + r.IntN(1000)
		p.options.Queue.MaxHeldBatches = 3 + r.IntN(8)
		p.options.MaxReads = 2 + r.IntN(4)
	}
	return p
}

// changing makes a quarter of the worlds such in which members change, and draws
// what belongs to it from the seed alone, so that the other worlds stay as they
// are.
func (p *plan) changing(cfg Config) {
	r := rand.New(rand.NewPCG(cfg.Seed, 0x6d656d62657273))
	switch {
	case cfg.Theme == 0 && r.Float64() < 0.25:
		p.theme = []Theme{Changes, LostDisks}[r.IntN(2)]
	case cfg.Theme != Changes && cfg.Theme != LostDisks:
		return
	}
	p.nodes, p.spares = 3, 2+r.IntN(3)
	p.installCrash = 0.15
	p.options.MaxLogBytes = int64(1000 + r.IntN(15_000))
	p.options.InactiveAfter = time.Duration(200+r.IntN(1500)) * time.Millisecond
	p.options.SnapshotHold = time.Duration(1+r.IntN(4)) * time.Second
	p.keepEntries = min(p.keepEntries, 5)
}

// newWorld draws everything from the seed.
func newWorld(cfg Config) *World {
	w := &World{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x70696e6574726565)),
		trace: newTrace(cfg.Trace), marks: Marks{}, hist: history.New(),
		etcd: etcd{records: map[pinetree.GroupID]stored{}}, truths: map[pinetree.GroupID]*truth{},
	}
	w.plan = w.newPlan()
	w.plan.changing(cfg)
	w.plan.leasing(cfg)
	w.plan.trimming(cfg)
	if w.plan.spares > 0 {
		w.operator = newOperator(w)
	}
	for i := range w.plan.groups {
		w.truths[groupNumber(i)] = &truth{lost: map[pinetree.NodeID]bool{}}
	}
	w.net = newNetwork(w)
	w.net.slow = w.plan.slow
	for i := range w.plan.nodes + w.plan.spares {
		w.nodes = append(w.nodes, newNode(w, pinetree.NodeID(i+1), w.newClock()))
	}
	for i := range 2 {
		w.managers = append(w.managers, newManager(w, i, w.newClock()))
	}
	w.spreadClocks()
	for i := range w.plan.groups * w.plan.volumes {
		v := &volume{
			id: pinetree.VolumeID(i + 1), group: groupNumber(i % w.plan.groups),
			format: pick(w, []pinetree.Format{pinetree.FormatOpaque, pinetree.FormatRedo}),
		}
		if w.chance(0.5) {
			v.base = pinetree.LSN(w.rng.IntN(1 << 20))
		}
		w.volumes = append(w.volumes, v)
	}
	for i := range 2 {
		w.readers = append(w.readers, &reader{w: w, address: firstClient + 1 + address(i)})
	}
	w.clients = firstClient + 10
	return w
}

// newClock draws a machine's clock: when it was booted, and its rate.
func (w *World) newClock() clock {
	bound := int(maxDrift * 1e6)
	if w.cfg.Mutant == WildClocks {
		bound *= 20
	}
	return clock{
		start: lease.Instant(w.span(between{time.Hour, 1000 * time.Hour})),
		ppm:   int64(w.rng.IntN(2*bound-1) - bound + 1),
	}
}

// spreadClocks lets nodes count as slowly and managers as fast as they may, in
// worlds that are about leases.
func (w *World) spreadClocks() {
	if w.plan.theme != Leases {
		return
	}
	for _, n := range w.nodes {
		n.clock.ppm = -max(n.clock.ppm, -n.clock.ppm)
	}
	for _, m := range w.managers {
		m.clock.ppm = max(m.clock.ppm, -m.clock.ppm)
	}
}

// newClient gives a client an address of its own.
func (w *World) newClient() address {
	w.clients++
	return w.clients
}

// founders are the nodes on which every group begins.
func (w *World) founders() []pinetree.NodeID {
	ids := make([]pinetree.NodeID, w.plan.nodes)
	for i := range ids {
		ids[i] = w.nodes[i].id
	}
	return ids
}

// describe says in a line what kind of world it is.
func (p plan) describe() string {
	return fmt.Sprintf("%s, %d nodes, %d groups, %d volumes each, lease %v, unordered %v, wait first %v",
		p.theme, p.nodes, p.groups, p.volumes, p.rules.Duration, p.unordered, p.waitFirst)
}
