package sim

import (
	"errors"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/logservice/group"
)

// conn is one stream of a writer: what either side sends arrives in order, or
// the stream breaks and both sides find out, sooner or later.
type conn struct {
	writer *writer
	node   *node
	life   int // of the node
	name   string
	broken bool
	server *serverStream
}

// serverStream is the node's end of a stream.
type serverStream struct {
	conn *conn
	m    *member
	stop func()
	over bool
}

// toServer carries something to the node's end.
func (c *conn) toServer(do func(*node)) {
	w := c.writer.w
	d := delivery{lane: lane{c.writer.address, c.node.address, c.name}, ordered: true}
	lost := w.net.send(d, func() {
		if !c.broken {
			c.node.after(0, func() {
				if !c.broken {
					do(c.node)
				}
			})
		}
	})
	if lost || !c.node.up {
		c.reset()
	}
}

// offer ships a batch.
func (c *conn) offer(b pinetree.Batch) {
	c.toServer(func(*node) {
		if c.server == nil {
			c.reset() // the process that knew the stream is gone
			return
		}
		c.server.offer(b)
	})
}

// toClient carries something to the writer's end.
func (c *conn) toClient(do func()) {
	d := delivery{lane: lane{c.node.address, c.writer.address, c.name}, ordered: true}
	lost := c.writer.w.net.send(d, func() {
		if !c.broken {
			do()
		}
	})
	if lost {
		c.reset()
	}
}

// reset breaks the stream.
func (c *conn) reset() {
	if c.broken {
		return
	}
	c.broken = true
	w := c.writer.w
	w.after(w.span(between{5 * time.Millisecond, 300 * time.Millisecond}), func() { c.writer.lost(c) })
	c.node.after(w.span(between{0, 200 * time.Millisecond}), func() {
		if s := c.server; s != nil {
			s.close()
		}
	})
}

func (s *serverStream) broken() { s.conn.reset() }

func (s *serverStream) close() {
	if s.over || s.m.node.life != s.conn.life {
		return
	}
	s.over = true
	s.m.post(func(*group.Replica) { s.stop() })
}

// listen begins the node's end of a stream.
func (n *node) listen(c *conn, v *volume, term pinetree.ComputeTerm) {
	m := n.member(v.group)
	if m == nil {
		c.reset()
		return
	}
	s := &serverStream{conn: c, m: m}
	c.server, c.life = s, n.life
	m.streams = append(m.streams, s)
	m.post(func(r *group.Replica) {
		stop, err := r.Listen(v.id, term, s.tell)
		if err != nil {
			s.stop = func() {}
			s.tell(group.Progress{Err: err})
			return
		}
		s.stop = stop
	})
}

// tell is called by the replica: what it says is acknowledged from now on.
func (s *serverStream) tell(p group.Progress) {
	if s.over || p.Err == nil && s.m.keepsToItself() {
		return
	}
	if p.Err == nil {
		s.conn.writer.acknowledgedBy(s.m, p.Committed)
	} else {
		s.over = true
		if errors.Is(p.Err, raft.ErrProposalDropped) {
			// The replica knows its role and its transfers before it proposes.
			s.m.node.w.fail("%s: raft dropped a proposal: %w", s.m.node.name, p.Err)
		}
	}
	if p.Missing > 0 {
		s.m.node.w.mark(HeldHole)
	}
	s.conn.toClient(func() { s.conn.writer.progress(s.conn, p) })
}

// offer takes a batch of a stream.
func (s *serverStream) offer(b pinetree.Batch) {
	if s.over {
		return
	}
	w := s.m.node.w
	s.m.post(func(r *group.Replica) {
		was, err := r.Watermarks(b.Volume)
		known := err == nil && b.LSN <= was.Received
		if err := r.Offer(b); err != nil {
			if errors.Is(err, pinetree.ErrQueueFull) {
				w.mark(QueueFull)
			}
			s.tell(group.Progress{Err: err})
			return
		}
		if known {
			w.mark(Duplicate)
		}
	})
	if w.cfg.Mutant == AckBeforeCommit {
		s.tell(group.Progress{Committed: b.LSN})
	}
}

// openTerm is a request to open a compute term.
func (n *node) openTerm(v *volume, fence adapter.Fence, done func(group.Opened, error)) {
	m := n.member(v.group)
	if m == nil {
		done(group.Opened{}, pinetree.ErrUnknownVolume)
		return
	}
	if marks, err := m.replica.Watermarks(v.id); err == nil && marks.Ordered > marks.Committed {
		n.w.mark(FenceInFlight)
	}
	m.opens++
	m.post(func(r *group.Replica) {
		r.Open(v.id, fence, func(o group.Opened, err error) {
			if m.keepsToItself() {
				err = pinetree.ErrNotLeader
			}
			done(o, err)
		})
	})
}

// resolve asks a quorum and tells what became of an append.
func (n *node) resolve(v *volume, a adapter.Append, done func(adapter.Outcome, error)) {
	m := n.member(v.group)
	if m == nil || !m.view.Leads {
		done(0, pinetree.ErrNotLeader)
		return
	}
	m.post(func(r *group.Replica) {
		r.ReadIndex(func(index pinetree.RaftIndex, err error) {
			if err != nil {
				done(0, err)
				return
			}
			m.wait(waiter{
				func(at pinetree.Position) bool { return at.Index >= index },
				func() {
					m.post(func(r *group.Replica) {
						outcome, _, err := r.Resolve(v.id, a)
						done(outcome, err)
					})
				},
			})
		})
	})
}
