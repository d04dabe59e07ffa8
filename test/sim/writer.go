package sim

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// volume is one volume and all who ever wrote to it.
type volume struct {
	id      pinetree.VolumeID
	group   pinetree.GroupID
	format  pinetree.Format
	base    pinetree.LSN
	created bool
	term    pinetree.ComputeTerm // the newest that was given to a writer
	writers []*writer
}

// writer is a compute node: it opens its term, ships batches over several
// streams, resends after each loss, and goes on until it is fenced.
type writer struct {
	w       *World
	name    string
	address address
	volume  *volume
	term    pinetree.ComputeTerm

	small   storepb.Compressor
	batches []pinetree.Batch // all that it ever cut
	tail    pinetree.LSN     // end of the last one
	acked   int              // batches that it knows to be committed
	told    int              // batches that some leader said are committed
	sent    int              // batches shipped in this session

	session int // counts the tries to connect
	opened  bool
	conns   []*conn
	leader  pinetree.NodeID // where it would try first; zero when unknown
	heard   time.Duration   // of the last progress, or of the session's begin

	fenced   bool
	finished bool // every append has an outcome
}

const (
	// openTimeout is how long a writer waits for the answer to Open.
	openTimeout = 700 * time.Millisecond
	// ackTimeout is how long it waits for progress before it looks elsewhere.
	ackTimeout = time.Second
	// afterFence is how many batches a fenced writer goes on to cut, in vain.
	afterFence = 3
)

// newWriter starts a compute node with the next compute term.
func (w *World) newWriter(v *volume) {
	v.term += pinetree.ComputeTerm(1 + w.rng.IntN(2))
	c := &writer{w: w, volume: v, term: v.term, address: w.newClient(), name: fmt.Sprintf("v%dt%d", v.id, v.term)}
	if len(v.writers) > 0 {
		w.mark(Takeover)
	}
	v.writers = append(v.writers, c)
	w.note(c.name, "begins")
	c.connect()
	w.every(w.plan.cut, c.produce)
	w.every(200*time.Millisecond, c.watch)
}

// node picks whom to ask: the believed leader, or anybody.
func (c *writer) node() *node {
	if c.leader != 0 && !c.w.chance(0.05) {
		return c.w.nodes[c.leader-1]
	}
	return pick(c.w, c.w.nodes)
}

// connect begins a new session: open the term, then ship what is not known to
// be committed.
func (c *writer) connect() {
	c.disconnect()
	c.session++
	c.heard = c.w.now
	session, n, floor := c.session, c.node(), c.w.hist.Floor(c.volume.id)
	fence := adapter.Fence{Term: c.term, Base: c.volume.base}
	c.w.net.call(c.address, &n.peer, func(answer func(func())) {
		n.openTerm(c.volume, fence, func(o group.Opened, err error) {
			if err == nil {
				c.w.hist.Opened(c.volume.id, o.Term, o.Durable, floor)
			}
			answer(func() {
				if c.session == session && !c.opened {
					c.onOpened(n, o, err)
				}
			})
		})
	})
	c.w.after(openTimeout, func() {
		if c.session == session && !c.opened && !c.finished {
			c.leader = 0
			c.connect()
		}
	})
}

func (c *writer) disconnect() {
	c.opened = false
	for _, s := range c.conns {
		s.broken = true
		server := s.server
		s.node.after(0, func() {
			if server != nil {
				server.close()
			}
		})
	}
	c.conns = nil
}

// onOpened takes the answer of the node that was asked.
func (c *writer) onOpened(n *node, o group.Opened, err error) {
	if err != nil {
		c.refused(err)
		return
	}
	c.opened, c.leader = true, n.id
	c.w.note(c.name, "is open on node, durable", uint64(n.id), uint64(o.Durable))
	if len(c.batches) == 0 {
		c.tail = o.Durable
	}
	c.acknowledged(o.Durable)
	c.sent = c.acked
	for i := range c.w.plan.streams {
		s := &conn{writer: c, node: n, life: n.life, name: fmt.Sprintf("s%d.%d", c.session, i)}
		c.conns = append(c.conns, s)
		s.toServer(func(n *node) { n.listen(s, c.volume, c.term) })
	}
	c.ship()
}

// refused follows the hint of a refusal, or ends a fenced writer.
func (c *writer) refused(err error) {
	var notLeader *pinetree.NotLeaderError
	switch {
	case errors.Is(err, pinetree.ErrStaleComputeTerm):
		c.onFenced()
		return
	case errors.As(err, &notLeader):
		c.leader = notLeader.Leader
		c.w.mark(SentAway)
	case errors.Is(err, pinetree.ErrBadBatch):
		c.w.fail("%s: %w", c.name, err)
	default:
		c.leader = 0
	}
	c.disconnect()
	c.session++
	session := c.session
	c.w.after(c.w.span(between{5 * time.Millisecond, 150 * time.Millisecond}), func() {
		if c.session == session && !c.finished {
			c.connect()
		}
	})
}

// produce cuts the next batch, unless too much waits.
func (c *writer) produce() {
	w := c.w
	if c.finished || !c.opened && len(c.batches) == 0 || len(c.batches)-c.acked >= w.plan.window || w.closing || !c.volume.created {
		return
	}
	var records []pinetree.Record
	for range 1 + w.rng.IntN(3) {
		lsn := c.tail + pinetree.LSN(1+w.rng.IntN(200))
		records = append(records, pinetree.Record{Prev: c.tail, LSN: lsn, Payload: c.payload(lsn)})
		c.tail = lsn
	}
	b, err := storepb.EncodeBatch(c.volume.id, c.term, records)
	if err != nil {
		w.fail("%s: %w", c.name, err)
		return
	}
	c.batches = append(c.batches, c.small.Compress(b))
	c.ship()
}

// payload names the writer and the record, in the volume's format.
func (c *writer) payload(lsn pinetree.LSN) []byte {
	text := fmt.Appendf(nil, "term %d wrote up to %d", c.term, lsn)
	if lsn%3 == 0 { // long enough to be compressed
		text = bytes.Repeat(text, 12)
	}
	if c.volume.format == pinetree.FormatOpaque {
		return text
	}
	return redo(c.w.rng.IntN(20), text)
}

// ship sends what is not sent yet, each batch on any of the streams.
func (c *writer) ship() {
	for c.opened && c.sent < len(c.batches) {
		b := c.batches[c.sent]
		c.sent++
		s := pick(c.w, c.conns)
		s.offer(b)
		if c.w.chance(0.01) {
			pick(c.w, c.conns).offer(b)
		}
	}
}

// progress is what the leader says on a stream.
func (c *writer) progress(s *conn, p group.Progress) {
	if c.finished || len(c.conns) == 0 || s.broken {
		return
	}
	if p.Err != nil {
		c.refused(p.Err)
		return
	}
	c.heard = c.w.now
	c.acknowledged(p.Committed)
}

// lost is called when a stream broke: all are opened again.
func (c *writer) lost(s *conn) {
	for _, mine := range c.conns {
		if mine == s && !c.finished {
			c.connect()
			return
		}
	}
}

// watch looks for another leader when nothing happens.
func (c *writer) watch() {
	if c.opened && !c.finished && c.acked < len(c.batches) && c.w.now-c.heard > ackTimeout {
		c.leader = 0
		c.connect()
	}
}

// acknowledged takes note of what is durable.
func (c *writer) acknowledged(lsn pinetree.LSN) {
	for c.acked < len(c.batches) && c.batches[c.acked].LSN <= lsn {
		c.acked++
	}
}

// acknowledgedBy is called when a leader says that this writer's appends up to
// an LSN are committed, whether or not the writer will ever hear of it.
func (c *writer) acknowledgedBy(m *member, lsn pinetree.LSN) {
	for ; c.told < len(c.batches) && c.batches[c.told].LSN <= lsn; c.told++ {
		c.w.hist.Acknowledged(c.batches[c.told])
		if c.told+1 == len(c.batches) || c.batches[c.told+1].LSN > lsn {
			m.checkDurable()
		}
	}
}

// onFenced goes on for a while, as a writer that does not believe it, and then
// asks what became of each append.
func (c *writer) onFenced() {
	c.disconnect()
	c.session++
	c.leader = 0
	if !c.fenced {
		c.fenced = true
		c.w.mark(Fenced)
		c.w.note(c.name, "is fenced")
		c.insist(afterFence)
	}
}

// insist offers batches to anybody without asking, after the writer was fenced.
func (c *writer) insist(times int) {
	if times == 0 || len(c.batches) == 0 {
		c.settle()
		return
	}
	n, b := pick(c.w, c.w.nodes), c.batches[len(c.batches)-1]
	c.w.net.call(c.address, &n.peer, func(func(func())) {
		n.post(c.volume.group, func(r *group.Replica) {
			if err := r.Offer(b); err == nil && r.View().Leads {
				c.w.mark(OfferWhileFencing)
			}
		})
	})
	c.w.after(c.w.around(100*time.Millisecond), func() { c.insist(times - 1) })
}
