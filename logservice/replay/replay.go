// Package replay decides what committed entries change, the same on every replica.
// It is pure.
package replay

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/logservice/trimming"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Run is a run of committed entries, in order.
type Run struct {
	Entries []*raftpb.Entry
	// Memberships are the memberships that conf changes among the entries led
	// to, by index.
	Memberships map[uint64]*raftpb.ConfState
}

// State is what is replayed already.
type State interface {
	Position() pinetree.Position
	// Meta is the metadata of a volume of the position.
	Meta(id pinetree.VolumeID) (*meta.Table, error)
}

// Decision is what entries change, and what those who wait for them are told.
type Decision struct {
	engine.Write
	Outcomes []Outcome
	tables   map[pinetree.VolumeID]*meta.Table // of the volumes whose metadata the entries change
}

// After is the state that the decision leads to, before an engine has it. The
// engine must have what the decision was made on, or do so before it is asked.
func (d Decision) After(e State) State { return &ahead{engine: e, decision: d} }

// ahead is what a decision leads to.
type ahead struct {
	engine   State
	decision Decision
}

// Position implements State.
func (a *ahead) Position() pinetree.Position { return a.decision.Position }

// Meta implements State.
func (a *ahead) Meta(id pinetree.VolumeID) (*meta.Table, error) {
	if t := a.decision.tables[id]; t != nil {
		return t, nil
	}
	return a.engine.Meta(id)
}

// Decide tells what runs of committed entries change, on every replica the
// same: a batch of a fenced writer is skipped, so is one that was replayed
// before, the next one is applied, and transactions on metadata are evaluated. A
// hole or an entry that does not decode is a *pinetree.CorruptError: the queue of
// the leader made it impossible, so the replica must stop.
func Decide(from State, runs []Run) (Decision, error) {
	at := from.Position()
	d := decider{from: from, Decision: Decision{Write: engine.Write{Position: at.Clone()}}}
	w := &d.Decision.Write
	for _, c := range runs {
		for _, e := range c.Entries {
			if pinetree.RaftIndex(e.GetIndex()) <= at.Index {
				continue
			}
			if pinetree.RaftIndex(e.GetIndex()) != w.Position.Index+1 {
				return d.Decision, corruptEntry(e, fmt.Sprintf("it does not follow on index %d", w.Position.Index))
			}
			if err := d.replayEntry(e, c.Memberships[e.GetIndex()]); err != nil {
				return d.Decision, err
			}
			w.Position.Index = pinetree.RaftIndex(e.GetIndex())
			w.Position.Term = pinetree.RaftTerm(e.GetTerm())
		}
	}
	return d.Decision, nil
}

// decider is one run of Decide.
type decider struct {
	Decision
	from State
}

func (d *decider) replayEntry(e *raftpb.Entry, conf *raftpb.ConfState) error {
	w := &d.Decision.Write
	if e.GetType() != raftpb.EntryNormal {
		if conf == nil {
			return nil
		}
		encoded, err := membership.Encode(conf)
		if err != nil {
			return err
		}
		w.Position.Membership = encoded
		return nil
	}
	command, err := storepb.DecodeCommand(e.GetData())
	if err != nil {
		return corruptEntry(e, err.Error())
	}
	if command.Control != nil {
		replayControl(&w.Position, command.Control)
		if drop := command.Control.GetDropVolume(); drop != nil {
			d.drop(pinetree.VolumeID(drop.Volume))
		}
		if err := d.replayMeta(e, command.Control); err != nil {
			return err
		}
	}
	for _, b := range command.Batches {
		at, known := w.Position.Volumes[b.Volume]
		if !known {
			return corruptEntry(e, fmt.Sprintf("batch of volume %d, which the group does not carry", b.Volume))
		}
		switch adapter.Decide(at, b) {
		case adapter.Apply:
			at.LSN = b.LSN
			at.LogBytes += int64(b.Size())
			w.Position.Volumes[b.Volume] = at
			w.Batches = append(w.Batches, b)
		case adapter.Hole:
			return corruptEntry(e, fmt.Sprintf("batch (%s, %s] of volume %d, compute term %d, does not follow on %s, compute term %d",
				b.Prev, b.LSN, b.Volume, b.Term, at.LSN, at.Term()))
		case adapter.SkipReplayed, adapter.SkipFenced:
		}
	}
	return nil
}

func replayControl(p *pinetree.Position, c *storepb.Control) {
	switch op := c.Op.(type) {
	case *storepb.Control_CreateVolume:
		id := pinetree.VolumeID(op.CreateVolume.Volume)
		if _, there := p.Volumes[id]; !there {
			p.Volumes[id] = pinetree.VolumePosition{Format: pinetree.Format(op.CreateVolume.Format)}
		}
	case *storepb.Control_Fence:
		id := pinetree.VolumeID(op.Fence.Volume)
		at, there := p.Volumes[id]
		if !there {
			return
		}
		fence := adapter.Fence{Term: pinetree.ComputeTerm(op.Fence.ComputeTerm), Base: pinetree.LSN(op.Fence.Base)}
		if next, opened := adapter.OpenTerm(at, fence); opened {
			p.Volumes[id] = next
		}
	case *storepb.Control_ChangeVolume:
		id := pinetree.VolumeID(op.ChangeVolume.Volume)
		if at, there := p.Volumes[id]; there {
			p.Volumes[id] = trimming.Change(at, op.ChangeVolume)
		}
	}
}

// drop takes a volume out of the group, with what entries of the same write have
// changed of it.
func (d *decider) drop(id pinetree.VolumeID) {
	delete(d.Position.Volumes, id)
	delete(d.tables, id)
	d.Batches = slices.DeleteFunc(d.Batches, func(b pinetree.Batch) bool { return b.Volume == id })
	d.Meta = slices.DeleteFunc(d.Meta, func(m engine.MetaWrite) bool { return m.Volume == id })
}

func corruptEntry(e *raftpb.Entry, what string) error {
	return &pinetree.CorruptError{Where: fmt.Sprintf("raft entry %d of raft term %d", e.GetIndex(), e.GetTerm()), What: what}
}
