package group

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Listener hears of the progress of one writer's stream.
type Listener func(Progress)

// Progress is what a writer is told. Err ends its stream.
type Progress struct {
	Committed pinetree.LSN // durable on a quorum
	Applied   pinetree.LSN // replayed here
	Missing   pinetree.LSN // batches are held that start later; zero when none
	Err       error
}

// maxOpens bounds the openings of one volume that wait for their fence.
const maxOpens = 1024

// Opened answers the opening of a compute term.
type Opened struct {
	Term    pinetree.ComputeTerm
	Durable pinetree.LSN // nothing of an older term will be after it
	Base    pinetree.LSN
	Format  pinetree.Format
}

// volume is what a ready leader keeps for the writers of one volume.
type volume struct {
	id        pinetree.VolumeID
	queue     *adapter.Queue
	committed pinetree.LSN // acknowledged
	listeners []*listener
	opens     []*opening
	dirty     bool // listeners may have something to hear
	ready     bool // in line to be proposed
}

// listener is one stream of a writer.
type listener struct {
	term pinetree.ComputeTerm
	tell Listener
}

// opening is an Open that waits for its fence or, when its term was open
// before, for a quorum to confirm that no other leader has gone on from here.
type opening struct {
	term pinetree.ComputeTerm
	done func(Opened, error)
	// The question to the quorum, if there is one.
	asking bool
	index  pinetree.RaftIndex // its answer: what must be applied first
	forget func()
}

// notLeader is the refusal that names the leader as far as it is known.
func (r *Replica) notLeader() error {
	if r.stopped != nil {
		return r.stopped
	}
	leader := pinetree.NodeID(r.basic.Lead)
	if leader == r.cfg.Node {
		leader = 0
	}
	return &pinetree.NotLeaderError{Group: r.cfg.Group, Leader: leader}
}

// successor is the refusal of a leader that was just deposed. Raft does not know
// the next one before its first message; the order to hand over does.
func (r *Replica) successor() error {
	if r.moving != nil && r.basic.Lead == 0 {
		return &pinetree.NotLeaderError{Group: r.cfg.Group, Leader: r.moving.to}
	}
	return r.notLeader()
}

// leading returns the leader's state of a volume, or why there is none.
func (r *Replica) leading(id pinetree.VolumeID) (*volume, error) {
	if !r.lead.ready || r.stopped != nil {
		return nil, r.notLeader()
	}
	v := r.volumes[id]
	if v == nil {
		return nil, fmt.Errorf("%w: volume %d is not in group %d", pinetree.ErrUnknownVolume, id, r.cfg.Group)
	}
	return v, nil
}

// Open fences all compute terms of a volume below term, or below the next one
// when term is zero, and calls done once that is committed and applied. Opening
// the term that is open changes nothing and tells the durable LSN, once a
// quorum has confirmed this leader: another one may have acknowledged more.
// Without a quorum, and before this replica, which was appointed, is a ready
// leader, done is called when the leadership or the try to get it ends.
func (r *Replica) Open(id pinetree.VolumeID, fence adapter.Fence, done func(Opened, error)) {
	r.open(id, fence, unconfirmed, done)
}

// confirmation tells whether a quorum has had this leader since an Open came.
type confirmation bool

const unconfirmed confirmation = false

func (r *Replica) open(id pinetree.VolumeID, fence adapter.Fence, confirmed confirmation, done func(Opened, error)) {
	if r.toLead() && len(r.opens) < maxOpens {
		// A writer that comes before this leader is ready need not come again. When
		// it came before the raft term, the term's first entry, which is committed
		// and replayed by then, is the confirmation.
		before := confirmation(r.lead.term == 0)
		r.opens = append(r.opens, func() { r.open(id, fence, before, done) })
		return
	}
	v, err := r.leading(id)
	if err != nil {
		done(Opened{}, err)
		return
	}
	if len(v.opens) >= maxOpens {
		done(Opened{}, fmt.Errorf("%w: %d openings of volume %d wait; wait and open again", pinetree.ErrQueueFull, maxOpens, id))
		return
	}
	if fence.Term == 0 {
		fence.Term = v.queue.Term() + 1
	}
	switch {
	case fence.Term < v.queue.Term() && !r.fencing(v):
		done(Opened{}, r.staleTerm(v))
		return
	case fence.Term > v.queue.Term():
		err := r.proposeControl(&storepb.Control{Op: &storepb.Control_Fence{Fence: &storepb.Fence{
			Volume: uint64(id), ComputeTerm: uint64(fence.Term), Base: uint64(fence.Base),
		}}})
		if err != nil {
			done(Opened{}, err)
			return
		}
		v.queue.Open(fence.Term)
	}
	o := &opening{term: fence.Term, done: done}
	if !r.fencing(v) && !(bool(confirmed) && r.holder.Activated(r.lead.term)) {
		r.confirm(o)
	}
	if v.opens = append(v.opens, o); len(v.opens) == 1 {
		r.opening = append(r.opening, v)
	}
}

// confirm asks a quorum whether this leader still is one. Readers cannot keep
// it from asking: the openings have a limit of their own.
func (r *Replica) confirm(o *opening) {
	o.asking = true
	o.forget = r.reads.wait(func(index pinetree.RaftIndex, err error) {
		o.asking, o.index = err != nil, index // an error is that of Stop, which ends the opening
	})
}

// end answers the one who opens.
func (o *opening) end(opened Opened, err error) {
	if o.forget != nil {
		o.forget()
	}
	o.done(opened, err)
}

// staleTerm tells a replaced writer what replaced it.
func (r *Replica) staleTerm(v *volume) error {
	return &pinetree.StaleComputeTermError{Volume: v.id, Term: v.queue.Term(), Durable: v.committed}
}

// CreateVolume adds a volume to the group; done hears when it is there.
func (r *Replica) CreateVolume(id pinetree.VolumeID, format pinetree.Format, done func(error)) {
	if !r.lead.ready || r.stopped != nil {
		done(r.notLeader())
		return
	}
	if v, there := r.position.Volumes[id]; there {
		if v.Format != format {
			done(fmt.Errorf("%w: volume %d with format %s", pinetree.ErrExists, id, v.Format))
			return
		}
		done(nil)
		return
	}
	r.Control(&storepb.Control{Op: &storepb.Control_CreateVolume{CreateVolume: &storepb.CreateVolume{
		Volume: uint64(id), Format: uint32(format),
	}}}, done)
}

// Control puts a control into the log, behind all that was offered before; done
// hears when it is replayed here, or why this leader cannot tell.
func (r *Replica) Control(c *storepb.Control, done func(error)) {
	if err := r.proposeControl(c); err != nil {
		done(err)
		return
	}
	r.flight.last().done = done
}

// Listen registers a stream of the writer of a compute term. Every change of
// its volume's watermarks is told until the returned function is called or an
// error was told.
func (r *Replica) Listen(id pinetree.VolumeID, term pinetree.ComputeTerm, tell Listener) (stop func(), err error) {
	v, err := r.leading(id)
	if err != nil {
		return nil, err
	}
	if term < v.queue.Term() && !r.fencing(v) {
		return nil, r.staleTerm(v)
	}
	if term == adapter.EndTerm {
		return nil, fmt.Errorf("%w: compute term %d of volume %d is no writer's", pinetree.ErrBadBatch, term, id)
	}
	l := &listener{term: term, tell: tell}
	v.listeners = append(v.listeners, l)
	r.touch(v)
	return func() {
		v.listeners = slices.DeleteFunc(v.listeners, func(other *listener) bool { return other == l })
	}, nil
}

// fencing tells that a fence is in the log and not yet applied: until it is, an
// older writer must not be told that it is replaced, because it may not be.
func (r *Replica) fencing(v *volume) bool {
	return r.position.Volumes[v.id].Term() < v.queue.Term()
}

// Offer takes a batch, whose checksum was checked, towards the log.
func (r *Replica) Offer(b pinetree.Batch) error {
	v, err := r.leading(b.Volume)
	if err != nil {
		return err
	}
	switch {
	case b.Term < v.queue.Term() && r.fencing(v):
		return nil // dropped; the listener hears how the fence ended
	case b.Term < v.queue.Term():
		return r.staleTerm(v)
	case r.fencing(v):
		// The fence may set where the log begins. A batch that did not know
		// would be a hole in every replica.
		return fmt.Errorf("%w: volume %d: compute term %d is being opened; wait for the answer to Open", pinetree.ErrBadBatch, b.Volume, b.Term)
	}
	verdict, err := v.queue.Offer(b)
	if err != nil {
		return err
	}
	if verdict == adapter.Duplicate || verdict == adapter.Held {
		r.touch(v)
	}
	r.writers.Note(b.Volume, r.now)
	r.markReady(v)
	return nil
}

// Resolve tells what became of an append; see adapter.Resolve. It asks the log
// as it is applied here, so only a ready leader that is activated may say so.
func (r *Replica) Resolve(id pinetree.VolumeID, a adapter.Append) (adapter.Outcome, pinetree.VolumePosition, error) {
	if _, err := r.leading(id); err != nil {
		return 0, pinetree.VolumePosition{}, err
	}
	at := r.position.Volumes[id]
	outcome, err := adapter.Resolve(at, a)
	return outcome, at, err
}

// openQueues starts the leader's state of every volume from what is applied.
func (r *Replica) openQueues() {
	for id, at := range r.position.Volumes {
		r.openQueue(id, at)
	}
}

func (r *Replica) openQueue(id pinetree.VolumeID, at pinetree.VolumePosition) {
	r.volumes[id] = &volume{id: id, queue: adapter.NewQueue(at, r.opt.Queue), committed: at.LSN}
	r.touch(r.volumes[id])
}

// closeQueues ends all that writers wait for: they are to ask the next leader.
func (r *Replica) closeQueues(why error) {
	r.ready, r.dirty, r.opening = nil, nil, nil
	for _, id := range r.volumeIDs() {
		v := r.volumes[id]
		r.dismiss(v, why)
		for _, o := range v.opens {
			o.end(Opened{}, why)
		}
		r.acknowledged[id] = v.committed
		delete(r.volumes, id)
	}
}

// dismiss ends the streams of a volume's writers.
func (r *Replica) dismiss(v *volume, why error) {
	listeners := v.listeners
	v.listeners = nil
	for _, l := range listeners {
		l.tell(Progress{Err: why})
	}
}

func (r *Replica) volumeIDs() []pinetree.VolumeID { return slices.Sorted(maps.Keys(r.volumes)) }

// touch takes note that the listeners of a volume may have something to hear.
func (r *Replica) touch(v *volume) {
	if !v.dirty {
		v.dirty = true
		r.dirty = append(r.dirty, v)
	}
}

// tellWriters answers openings and brings the listeners of changed volumes up to
// date.
func (r *Replica) tellWriters() {
	if len(r.dirty)+len(r.opening) == 0 || !r.holder.Activated(r.lead.term) {
		return
	}
	r.opening = slices.DeleteFunc(r.opening, func(v *volume) bool {
		return r.volumes[v.id] != v || r.answerOpens(v)
	})
	changed := r.dirty
	r.dirty = nil
	slices.SortFunc(changed, func(a, b *volume) int { return cmp.Compare(a.id, b.id) })
	for _, v := range changed {
		v.dirty = false
		if id := v.id; r.volumes[id] == v {
			r.tellWritersOf(v, id)
		}
	}
}

func (r *Replica) tellWritersOf(v *volume, id pinetree.VolumeID) {
	at := r.position.Volumes[id]
	p := Progress{Committed: v.committed, Applied: min(at.LSN, v.committed)}
	if missing, ok := v.queue.Missing(); ok {
		p.Missing = missing
	}
	kept := v.listeners[:0:0]
	for _, l := range v.listeners {
		if l.term < at.Term() {
			l.tell(Progress{Err: r.staleTerm(v)})
			continue
		}
		l.tell(p)
		kept = append(kept, l)
	}
	v.listeners = kept
}

// answerOpens answers the openings, once no fence is on its way, and tells whether
// there is none left.
func (r *Replica) answerOpens(v *volume) bool {
	if r.fencing(v) {
		return false
	}
	at := r.position.Volumes[v.id]
	waiting := v.opens[:0:0]
	for _, o := range v.opens {
		switch {
		case o.term < at.Term():
			o.end(Opened{}, r.staleTerm(v))
		case o.asking || o.index > r.position.Index:
			waiting = append(waiting, o)
		default:
			o.end(Opened{Term: o.term, Durable: max(v.committed, at.LSN), Base: at.Base, Format: at.Format}, nil)
		}
	}
	if len(waiting) < len(v.opens) {
		r.touch(v)
	}
	v.opens = waiting
	return len(waiting) == 0
}

// Watermarks of a volume as this replica knows them; Flushed is filled by the
// caller, who knows the engine.
func (r *Replica) Watermarks(id pinetree.VolumeID) (pinetree.Watermarks, error) {
	at, there := r.position.Volumes[id]
	if !there {
		return pinetree.Watermarks{}, fmt.Errorf("%w: volume %d is not in group %d", pinetree.ErrUnknownVolume, id, r.cfg.Group)
	}
	w := pinetree.Watermarks{Truncated: at.Truncated, Applied: at.LSN, Committed: max(at.LSN, r.acknowledged[id])}
	w.Ordered, w.Received = w.Committed, w.Committed
	if v := r.volumes[id]; v != nil {
		w.Committed = max(w.Committed, v.committed)
		w.Ordered = max(w.Committed, v.queue.Ordered())
		w.Received = max(w.Ordered, v.queue.Received())
	}
	return w, nil
}
