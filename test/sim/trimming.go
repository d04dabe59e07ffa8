package sim

import (
	"math/rand/v2"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/trimming"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/test/sim/history"
)

// In some worlds no more of each volume is kept than is wanted: nodes look at how
// volumes grow and have what settings and slots allow for go, as package trimmer does
// beside the replicas; an operator changes the settings and orders more to go.
// Followers are left behind more easily there, and get snapshots of what is left.

const (
	trimPace = 200 * time.Millisecond
	curbPace = 350 * time.Millisecond
	// trimTime leaves the rest of a run to those who wait for leaders to go quiet.
	trimTime = troubleTime * 3 / 4
)

// trimStep is worth an entry of the log in worlds where little is written.
var trimStep = trimming.Step{MinBytes: 500, Share: 8, Patience: time.Second}

// trimming makes worlds in which logs are given up, and draws what belongs to it
// from the seed alone, so that the other worlds stay as they are.
func (p *plan) trimming(cfg Config) {
	r := rand.New(rand.NewPCG(cfg.Seed, 0x7472696d))
	if p.theme == Leases || r.Float64() >= 0.3 {
		return
	}
	p.trims = true
	if p.spares == 0 {
		p.installCrash = 0.1
		p.options.MaxLogBytes = int64(1000 + r.IntN(15_000))
		p.options.InactiveAfter = time.Duration(200+r.IntN(1500)) * time.Millisecond
		p.options.SnapshotHold = time.Duration(1+r.IntN(4)) * time.Second
		p.keepEntries = min(p.keepEntries, 5)
	}
}

// growth is what a node remembers of a volume in one life.
type growth struct {
	trimming.History
	truncated pinetree.LSN
	stepped   time.Duration // when that rose, or the volume was first seen
}

// beginTrimming starts those who want less of each volume, and those who read.
func (w *World) beginTrimming() {
	for _, v := range w.volumes {
		if !w.plan.trims {
			return
		}
		random := rand.New(rand.NewPCG(w.cfg.Seed, 1<<32|uint64(v.id)))
		w.every(curbPace, func() { w.curb(v, random) })
		for i := range 2 {
			t := &tailer{w: w, volume: v, random: random, address: w.newClient(), name: i}
			w.tailers = append(w.tailers, t)
			w.every(tailPace, t.tick)
		}
	}
}

// trim looks at all volumes of a node, and has what may go of those that it leads go.
func (n *node) trim() {
	for _, m := range n.seats() {
		for _, v := range n.w.volumes {
			at, there := m.applied.Volumes[v.id]
			if v.group != m.group || !there {
				continue
			}
			g := n.look(v.id, at)
			if !m.view.Leads || n.w.now > trimTime {
				continue
			}
			d := m.decide(g, v, 0)
			if trimStep.Worth(d, at, time.Duration(n.local())-g.stepped) {
				m.order(v, d, false)
			}
		}
	}
}

// look takes note of where a volume is.
func (n *node) look(id pinetree.VolumeID, at pinetree.VolumePosition) *growth {
	now := time.Duration(n.local())
	g := n.growth[id]
	if g == nil {
		g = &growth{stepped: now, truncated: at.Truncated}
		n.growth[id] = g
	}
	if at.Truncated != g.truncated {
		g.truncated, g.stepped = at.Truncated, now
	}
	g.Look(now, at)
	return g
}

// decide is what is to become of a volume's log; an order of zero is none.
func (m *member) decide(g *growth, v *volume, order pinetree.LSN) trimming.Decision {
	q := trimming.Question{
		Volume: m.applied.Volumes[v.id], Flushed: m.engine.Flushed().Volumes[v.id].LSN, Now: time.Duration(m.node.local()), Order: order,
	}
	if m.node.w.cfg.Mutant == KeepsLess {
		q.Volume.Settings.KeepFor /= 4
		q.Volume.Settings.KeepBytes /= 4
	}
	if m.node.w.cfg.Mutant == SlotsUnseen {
		q.Volume.Slots = nil
	}
	d := g.Decide(q)
	if d.Reason == trimming.Slot {
		m.node.w.mark(SlotKeeps)
	}
	if m.node.w.cfg.Mutant == SlotLostEarly && len(q.Volume.Slots) > 0 {
		d.Lost = append(d.Lost, q.Volume.Slots[0])
		d.Lost[len(d.Lost)-1].Lost = true
	}
	return d
}

// order puts a decision into the log.
func (m *member) order(v *volume, d trimming.Decision, byHand bool) {
	c := d.Change(v.id)
	if c == nil {
		return
	}
	w := m.node.w
	if d.To > 0 {
		w.hist.Ordered(history.Order{Volume: v.id, To: d.To, At: m.applied.Volumes[v.id], Now: w.now, ByHand: byHand})
	}
	m.change(c, func(error) {})
}

// change puts a change of a volume into the log.
func (m *member) change(c *storepb.ChangeVolume, done func(error)) {
	m.post(func(r *group.Replica) {
		r.Control(&storepb.Control{Op: &storepb.Control_ChangeVolume{ChangeVolume: c}}, done)
	})
}

// curb changes the settings of a volume, or orders some of its log to go.
func (w *World) curb(v *volume, random *rand.Rand) {
	n := w.leader(v.group)
	if n == nil || !v.created || w.now > trimTime {
		return
	}
	m := n.member(v.group)
	at, there := m.applied.Volumes[v.id]
	switch {
	case !there || !m.view.Leads:
	case random.IntN(3) > 0:
		set := pinetree.VolumeSettings{KeepBytes: 1500 + random.Int64N(20_000)}
		if random.IntN(2) == 0 {
			set = pinetree.VolumeSettings{KeepFor: time.Duration(100+random.IntN(1500)) * time.Millisecond}
		}
		m.change(&storepb.ChangeVolume{Volume: uint64(v.id), Settings: storepb.StoreSettings(set)}, func(error) {})
	default:
		to := at.First() + pinetree.LSN(random.Uint64N(uint64(at.LSN-at.First())+200)) + 1
		m.order(v, m.decide(n.look(v.id, at), v, to), true)
	}
}

// checkTrimmed tells the history how much of each volume is left at a position.
func (m *member) checkTrimmed(at pinetree.Position) {
	w := m.node.w
	if !w.plan.trims {
		return
	}
	for _, v := range w.volumes {
		if p, there := at.Volumes[v.id]; there {
			w.hist.Trimmed(m.node.id, v.id, at.Index, p)
			switch before := m.applied.Volumes[v.id]; {
			case p.Truncated <= before.Truncated:
			case at.Restored == at.Index && before.LSN > 0 && p.Truncated > before.LSN:
				w.mark(TrimmedBehind)
			default:
				w.mark(Trimmed)
			}
		}
	}
}

// mutateWrite is for bugs put in on purpose, in how a decision is carried out.
func (m *member) mutateWrite(commits []group.Commit, write *engine.Write) {
	mutant := m.node.w.cfg.Mutant
	blind := mutant == TrimBeyondSlot || mutant == SlotsUnseen
	if mutant != TrimTooFar && !blind {
		return
	}
	before := m.engine.Position()
	for id, v := range write.Position.Volumes {
		if mutant == TrimTooFar && v.Truncated > before.Volumes[id].Truncated {
			v.Truncated = min(v.Truncated+1, v.LSN)
			write.Position.Volumes[id] = v
		}
	}
	for _, c := range commits {
		for _, e := range c.Entries {
			command, err := storepb.DecodeCommand(e.GetData())
			change := command.Control.GetChangeVolume()
			if err != nil || !blind || change == nil {
				continue
			}
			id := pinetree.VolumeID(change.Volume)
			v := write.Position.Volumes[id]
			v.Truncated = max(v.Truncated, min(v.LSN, pinetree.LSN(change.Truncate)))
			write.Position.Volumes[id] = v
		}
	}
}

// forgetful is the position of a snapshot, or what a bug put in on purpose makes of it.
func (m *member) forgetful(at pinetree.Position) pinetree.Position {
	mutant := m.node.w.cfg.Mutant
	if mutant != TrimForgotten && mutant != SlotsForgotten {
		return at
	}
	at = at.Clone()
	for id, v := range at.Volumes {
		if mutant == TrimForgotten {
			v.Truncated, v.TruncatedBytes = 0, 0
		} else {
			v.Slots = nil
		}
		at.Volumes[id] = v
	}
	return at
}
