package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// tailer reads the log of a volume at any replica, most of the time with a slot that
// keeps what it has not read.
type tailer struct {
	w       *World
	volume  *volume
	random  *rand.Rand
	address address
	name    int

	at      pinetree.LSN // it has read everything up to here
	slots   int          // that it has had; each has a name of its own
	held    pinetree.LSN // its slot is there, surely not beyond; zero without one
	leaving bool         // the slot is to be dropped, and may be gone
	waiting bool         // for the answer of a leader
}

const (
	tailPace    = 120 * time.Millisecond
	tailTimeout = time.Second
)

// slot is the name of the present slot.
func (t *tailer) slot() string { return fmt.Sprintf("%d-%d", t.name, t.slots) }

func (t *tailer) tick() {
	if !t.volume.created || t.w.now > trimTime {
		return
	}
	switch action := t.random.IntN(6); {
	case action < 2 && t.leaving:
		t.drop()
	case action < 2:
		t.move()
	case action == 2:
		if t.held > 0 && t.random.IntN(8) == 0 {
			t.drop()
		}
	default:
		if n := pick(t.w, t.w.nodes); n.up && n.member(t.volume.group) != nil {
			t.read(n.member(t.volume.group))
		}
	}
}

// move makes the slot, or lets it follow.
func (t *tailer) move() {
	var c *storepb.Slot
	t.ask(func(m *member, at pinetree.VolumePosition) *storepb.ChangeVolume {
		if t.held == 0 && t.at < at.First() {
			t.at = at.First()
		}
		c = &storepb.Slot{Name: t.slot(), Lsn: uint64(t.at)}
		if t.slots%2 == 1 {
			c.MaxBytes = 1000 + t.random.Uint64N(4000)
		}
		t.w.hist.SlotMoves(t.volume.id, t.slot(), t.at)
		return &storepb.ChangeVolume{Volume: uint64(t.volume.id), PutSlots: []*storepb.Slot{c}}
	}, func(at pinetree.Position) {
		slots := at.Volumes[t.volume.id].Slots
		i := slices.IndexFunc(slots, func(s pinetree.Slot) bool { return s.Name == c.Name })
		if i >= 0 && !slots[i].Lost {
			t.w.mark(SlotMade)
			t.w.hist.SlotHeld(t.volume.id, slots[i], at.Index)
			t.held = slots[i].LSN
		}
	})
}

// drop gives the slot up; the next one has another name, for the order to drop this
// one may be carried out late.
func (t *tailer) drop() {
	name := t.slot()
	t.ask(func(*member, pinetree.VolumePosition) *storepb.ChangeVolume {
		t.w.hist.SlotMoves(t.volume.id, name, 0)
		t.held, t.leaving = 0, true
		return &storepb.ChangeVolume{Volume: uint64(t.volume.id), DropSlots: []string{name}}
	}, func(pinetree.Position) {
		if name == t.slot() {
			t.slots++
			t.leaving = false
		}
	})
}

// ask has the leader make a change, and tells of the position after it.
func (t *tailer) ask(change func(*member, pinetree.VolumePosition) *storepb.ChangeVolume, then func(pinetree.Position)) {
	n := t.w.leader(t.volume.group)
	if n == nil || t.waiting {
		return
	}
	t.waiting = true
	over := false
	end := func() {
		if !over {
			over, t.waiting = true, false
		}
	}
	t.w.after(tailTimeout, end)
	t.w.net.call(t.address, &n.peer, func(answer func(func())) {
		m := n.member(t.volume.group)
		if over || m == nil || !m.view.Leads {
			return
		}
		m.change(change(m, m.applied.Volumes[t.volume.id]), func(err error) {
			if err != nil {
				return
			}
			at := m.engine.Position()
			answer(func() {
				if !over {
					then(at)
				}
				end()
			})
		})
	})
}

// read goes on with the log on a replica.
func (t *tailer) read(m *member) {
	w, id := t.w, t.volume.id
	reader, err := m.reader(id)
	if err != nil {
		return
	}
	p := reader.Position()
	if p.LSN < t.at {
		return // it is behind
	}
	t.at = max(t.at, p.Base)
	if p.Truncated > p.Base {
		t.readBelow(reader, p)
	}
	switch {
	case t.at >= p.Truncated:
		if end := w.hist.Log(m.node.id, id, reader, t.at); end != p.LSN && end > t.at {
			w.fail("volume %d on node %d: the log above %s reads up to %s, the position says %s", id, m.node.id, t.at, end, p.LSN)
		} else if t.random.IntN(2) == 0 {
			t.at = max(end, p.First())
		}
	case t.held == 0:
		t.at = p.First()
	default:
		i := slices.IndexFunc(p.Slots, func(s pinetree.Slot) bool { return s.Name == t.slot() })
		if i < 0 || !p.Slots[i].Lost {
			w.fail("volume %d: a reader at %s with slot %s at or above %s finds the log truncated up to %s on node %d, slots %+v", id, t.at, t.slot(), t.held, p.Truncated, m.node.id, p.Slots)
			return
		}
		w.mark(SlotLost)
		t.drop()
	}
}

// readBelow asks for what is gone: it is refused, and the first LSN that there is
// named.
func (t *tailer) readBelow(r engine.Reader, p pinetree.VolumePosition) {
	for _, from := range []pinetree.LSN{p.Base, p.Truncated - 1} {
		err := r.Log(from, func(pinetree.Batch) error { return nil })
		if p.Format == pinetree.FormatRedo && err != nil {
			_, err = r.Range(engine.RangeSpec{At: max(from, 1), Limit: 1})
		}
		var truncated *pinetree.TruncatedError
		if !errors.As(err, &truncated) || truncated.First != p.Truncated {
			t.w.fail("volume %d: asked for what is above %s, truncated up to %s, it says %v", t.volume.id, from, p.Truncated, err)
		}
	}
	t.w.mark(ReadTruncated)
}

// check reads what the tailer has a slot for on all replicas, once all is quiet.
func (t *tailer) check() {
	for _, m := range t.w.seats(t.volume.group) {
		if t.held > 0 {
			t.read(m)
		}
	}
}

// reader is what readers of a volume are given.
func (m *member) reader(id pinetree.VolumeID) (engine.Reader, error) {
	r, err := m.engine.Volume(id)
	if m.node.w.cfg.Mutant == CutAbove && m.node.id == 1 && err == nil {
		return cutAbove{r}, nil
	}
	return r, err
}

// cutAbove is a bug put in on purpose: with what is truncated goes a batch above it.
type cutAbove struct{ engine.Reader }

// Log implements engine.Reader.
func (c cutAbove) Log(from pinetree.LSN, fn func(pinetree.Batch) error) error {
	first := c.Position().Truncated > c.Position().Base && from < c.Position().LSN
	return c.Reader.Log(from, func(b pinetree.Batch) error {
		if first && b.LSN < c.Position().LSN && b.Prev <= c.Position().Truncated {
			first = false
			return nil
		}
		return fn(b)
	})
}
