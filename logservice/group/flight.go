package group

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/packing"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// flight is the leader's proposals that are not settled yet, in log order.
type flight struct {
	proposals []proposal
	placed    int                // the first this many have an index
	committed pinetree.RaftIndex // of the last one that was seen to be committed
	bytes     int                // of proposals
}

// proposal is one raft entry of this leader, from proposing to acknowledgement.
type proposal struct {
	index pinetree.RaftIndex // zero until raft placed it
	at    lease.Instant      // when it was proposed
	packing.Entry
	control bool
	done    func(error) // control: hears once it is applied; may be nil
}

func (f *flight) last() *proposal { return &f.proposals[len(f.proposals)-1] }

// propose moves what is in order from the queues into raft's log, as few
// entries, all in one message. Volumes take turns, so that none waits for another
// that always has something.
func (r *Replica) propose() {
	if len(r.ready) == 0 || !r.lead.ready || r.moving != nil || r.stopped != nil {
		return
	}
	p := packing.New(r.cfg.Buffer)
	defer p.Close()
	most := r.opt.MaxInflightBytes
	if r.writers.Several(r.now) || r.cfg.Groups.Several(r.now) {
		most = min(most, r.opt.MaxSharedBytes)
	}
	for len(r.ready) > 0 && r.flight.bytes+p.Bytes() < most && r.unsaved < r.opt.MaxUnsavedBytes &&
		!r.lag.Full(r.flight.bytes+p.Bytes()) {
		v := r.ready[0]
		r.ready = append(r.ready[:0], r.ready[1:]...)
		v.ready = false
		if r.volumes[v.id] != v || !v.queue.Ready() {
			continue // it was closed, or reset
		}
		p.Add(v.id, v.queue.Take(r.opt.MaxEntryBytes-p.EntryBytes()))
		if p.EntryBytes() >= r.opt.MaxEntryBytes {
			p.Seal()
		}
		r.markReady(v)
	}
	p.Seal()
	if len(p.Packed) == 0 {
		return
	}
	r.lead.news.Entries(r.now)
	r.flight.bytes += p.Bytes()
	if err := r.step(p.Entries()); err != nil {
		r.dropped(p.Packed, err)
		return
	}
	for _, e := range p.Packed {
		r.flight.proposals = append(r.flight.proposals, proposal{at: r.now, Entry: e})
	}
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
func (r *Replica) dropped(proposals []packing.Entry, why error) {
	for _, p := range proposals {
		r.flight.bytes -= p.Size
		for _, end := range p.Ends {
			v, at := r.volumes[end.Volume], r.position.Volumes[end.Volume]
			if v == nil {
				continue // it was deleted
			}
			opened := v.queue.Term()
			at.LSN = max(at.LSN, v.committed, r.flight.end(end.Volume))
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
		for _, e := range p.Ends {
			if e.Volume == id {
				lsn = max(lsn, e.LSN)
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
	r.flight.proposals = append(r.flight.proposals, proposal{at: r.now, Entry: packing.Entry{Size: len(data)}, control: true})
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

// settle acknowledges what is committed, once the raft term is activated: batches
// at commit, controls when they are applied here, which no batch waits for.
func (r *Replica) settle() {
	if !r.holder.Activated(r.lead.term) {
		return
	}
	f, commit := &r.flight, pinetree.RaftIndex(r.basic.HardState.GetCommit())
	n, waiting, newest := 0, f.proposals[:0], lease.Instant(0)
	for ; n < f.placed && f.proposals[n].index <= commit; n++ {
		p := f.proposals[n]
		if p.index > f.committed {
			f.committed, newest = p.index, p.at
		}
		if p.control && p.index > r.position.Index {
			waiting = append(waiting, p)
			continue
		}
		for _, end := range p.Ends {
			if v := r.volumes[end.Volume]; v != nil && end.LSN > v.committed {
				v.committed = end.LSN
				r.touch(v)
			}
		}
		if p.done != nil {
			p.done(nil)
		}
		f.bytes -= p.Size
	}
	if newest != 0 {
		r.lead.pace.Take(r.now.Sub(newest), r.now)
	}
	f.placed -= n - len(waiting)
	f.proposals = append(waiting, f.proposals[n:]...)
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
