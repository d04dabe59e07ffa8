package group

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// flight is the leader's proposals that are not settled yet, in log order.
type flight struct {
	proposals []proposal
	placed    int // the first this many have an index
	bytes     int // proposed and not yet committed
}

// proposal is one raft entry of this leader, from proposing to acknowledgement.
type proposal struct {
	index   pinetree.RaftIndex // zero until raft placed it
	size    int
	ends    []volumeEnd // batches: how far each volume gets
	control bool
	done    func(error) // control: hears once it is applied; may be nil
}

type volumeEnd struct {
	volume pinetree.VolumeID
	lsn    pinetree.LSN
}

func (f *flight) last() *proposal { return &f.proposals[len(f.proposals)-1] }

// propose moves what is in order from the queues into raft's log, as few
// entries, all in one message. Volumes take turns, so that none waits for another
// that always has something.
func (r *Replica) propose() {
	if len(r.ready) == 0 || !r.lead.ready || r.moving != nil || r.stopped != nil {
		return
	}
	p := proposing{data: r.cfg.Buffer.bytes[:0]}
	for len(r.ready) > 0 && r.flight.bytes+len(p.data) < r.opt.MaxInflightBytes && r.unsaved < r.opt.MaxUnsavedBytes {
		v := r.ready[0]
		r.ready = append(r.ready[:0], r.ready[1:]...)
		v.ready = false
		if r.volumes[v.id] != v || !v.queue.Ready() {
			continue // it was closed, or reset
		}
		p.add(v.id, v.queue.Take(r.opt.MaxEntryBytes-p.entryBytes()))
		if p.entryBytes() >= r.opt.MaxEntryBytes {
			p.seal()
		}
		r.markReady(v)
	}
	p.seal()
	if len(p.proposals) > 0 {
		r.lead.news.Entries(r.now)
		r.flight.bytes += len(p.data)
		if err := r.step(p.entries()); err != nil {
			r.dropped(p.proposals, err)
		} else {
			r.flight.proposals = append(r.flight.proposals, p.proposals...)
		}
	}
	if cap(p.data) <= maxBuffer {
		r.cfg.Buffer.bytes = p.data
	}
}

// Buffer is memory in which replicas encode what they propose, one at a time: raft
// keeps a copy of it.
type Buffer struct{ bytes []byte }

// maxBuffer is the size beyond which memory is not kept.
const maxBuffer = 4 << 20

// proposing puts batches together to entries, in one buffer.
type proposing struct {
	data      []byte
	from      int         // where the entry under way begins
	ends      []volumeEnd // of the entry under way
	proposals []proposal
}

func (p *proposing) entryBytes() int { return len(p.data) - p.from }

func (p *proposing) add(id pinetree.VolumeID, batches []pinetree.Batch) {
	if len(batches) == 0 {
		return
	}
	p.data = storepb.AppendBatches(p.data, batches, p.entryBytes() == 0)
	p.ends = append(p.ends, volumeEnd{id, batches[len(batches)-1].LSN})
}

// seal ends the entry under way.
func (p *proposing) seal() {
	if size := p.entryBytes(); size > 0 {
		p.proposals = append(p.proposals, proposal{size: size, ends: p.ends})
		p.from, p.ends = len(p.data), nil
	}
}

func (p *proposing) entries() []*raftpb.Entry {
	entries := make([]*raftpb.Entry, len(p.proposals))
	rest := p.data
	for i, sealed := range p.proposals {
		entries[i] = &raftpb.Entry{Data: rest[:sealed.size:sealed.size]}
		rest = rest[sealed.size:]
	}
	return entries
}

// markReady puts a volume in line when it has batches to propose.
func (r *Replica) markReady(v *volume) {
	if !v.ready && v.queue.Ready() {
		v.ready = true
		r.ready = append(r.ready, v)
	}
}

// step gives raft entries to append, all or none.
func (r *Replica) step(entries []*raftpb.Entry) error {
	from, kind := uint64(r.cfg.Node), raftpb.MsgProp
	return r.rn.Step(&raftpb.Message{Type: &kind, From: &from, Entries: entries})
}

// dropped resets the queues whose batches raft did not take, each to the end of
// what raft did take of its volume: the writers are sent away and resume from
// the durable LSN, and what is still in flight must not become a hole for them.
func (r *Replica) dropped(proposals []proposal, why error) {
	for _, p := range proposals {
		r.flight.bytes -= p.size
		for _, end := range p.ends {
			v, at := r.volumes[end.volume], r.position.Volumes[end.volume]
			opened := v.queue.Term()
			at.LSN = max(at.LSN, v.committed, r.flight.end(end.volume))
			v.queue.Reset(at)
			v.queue.Open(opened)
			r.dismiss(v, fmt.Errorf("%w: raft did not take a proposal (%w); resume from the durable LSN", pinetree.ErrNotLeader, why))
		}
	}
}

// end is how far the proposals in flight get a volume; zero when there is none.
func (f *flight) end(id pinetree.VolumeID) pinetree.LSN {
	var lsn pinetree.LSN
	for _, p := range f.proposals {
		for _, e := range p.ends {
			if e.volume == id {
				lsn = max(lsn, e.lsn)
			}
		}
	}
	return lsn
}

// proposeControl puts a control into the log behind all that was proposed.
func (r *Replica) proposeControl(c *storepb.Control) error {
	r.lookAtRole()
	if r.moving != nil || !r.lead.ready {
		return r.notLeader()
	}
	r.propose() // what is in order goes first
	data, err := storepb.EncodeControl(c)
	if err != nil {
		return err
	}
	if err := r.step([]*raftpb.Entry{{Data: data}}); err != nil {
		if errors.Is(err, raft.ErrProposalDropped) {
			return r.notLeader()
		}
		return err
	}
	r.flight.bytes += len(data)
	r.flight.proposals = append(r.flight.proposals, proposal{size: len(data), control: true})
	return nil
}

// place learns the indexes of this term's proposals from the entries that raft
// appended: its own entries are empty, ours never are.
func (r *Replica) place(entries []*raftpb.Entry) {
	for _, e := range entries {
		if r.lead.term == 0 || pinetree.RaftTerm(e.GetTerm()) != r.lead.term {
			continue
		}
		if r.lead.first == 0 {
			r.lead.first = pinetree.RaftIndex(e.GetIndex())
		}
		if e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0 && r.flight.placed < len(r.flight.proposals) {
			r.flight.proposals[r.flight.placed].index = pinetree.RaftIndex(e.GetIndex())
			r.flight.placed++
		}
	}
}

// settle acknowledges what is committed, once the raft term is activated:
// batches at commit, controls when they are applied here, in log order.
func (r *Replica) settle() {
	if !r.holder.Activated(r.lead.term) {
		return
	}
	commit := pinetree.RaftIndex(r.basic.HardState.GetCommit())
	n := 0
	for ; n < r.flight.placed; n++ {
		p := r.flight.proposals[n]
		if p.index > commit || p.control && p.index > r.position.Index {
			break
		}
		for _, end := range p.ends {
			if v := r.volumes[end.volume]; end.lsn > v.committed {
				v.committed = end.lsn
				r.touch(v)
			}
		}
		if p.done != nil {
			p.done(nil)
		}
		r.flight.bytes -= p.size
	}
	r.flight.proposals = append(r.flight.proposals[:0], r.flight.proposals[n:]...)
	r.flight.placed -= n
}

// abandon ends all proposals of a lost leadership: their outcome is the next
// leader's to tell.
func (r *Replica) abandon(why error) {
	for _, p := range r.flight.proposals {
		if p.done != nil {
			p.done(why)
		}
	}
	r.flight = flight{}
}
