package sim

import (
	"errors"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
)

// settle asks what became of each append that the writer does not know to be
// committed, one after the other, until all are known.
func (c *writer) settle() {
	for c.acked < len(c.batches) {
		c.resolveNext()
		return
	}
	c.finished = true
	c.w.note(c.name, "knows the outcome of all its batches", uint64(len(c.batches)))
}

func (c *writer) resolveNext() {
	asked, answered := c.acked, false
	a := adapter.Append{Term: c.term, LSN: c.batches[asked].LSN}
	n := c.node()
	c.w.net.call(c.address, &n.peer, func(answer func(func())) {
		n.resolve(c.volume, a, func(o adapter.Outcome, err error) {
			if err == nil {
				c.w.hist.Resolved(c.volume.id, a, o)
			}
			answer(func() {
				if answered {
					return
				}
				answered = true
				c.onResolved(n, o, err)
			})
		})
	})
	c.w.after(time.Second, func() {
		if !answered {
			answered = true
			c.leader = 0
			c.settle()
		}
	})
}

func (c *writer) onResolved(n *node, o adapter.Outcome, err error) {
	switch {
	case errors.Is(err, pinetree.ErrTruncated):
		// The one outcome that is allowed to be forgotten: 64 terms ago.
		c.acked++
	case err != nil:
		c.leader = 0
		c.w.after(c.w.around(50*time.Millisecond), c.settle)
		return
	case o == adapter.NotCommitted && c.fenced:
		c.w.fail("%s was fenced, and node %d says that the append up to %s may still be committed", c.name, n.id, c.batches[c.acked].LSN)
	case o == adapter.Rejected:
		c.w.mark(Rejected)
		c.acked++
	default:
		if c.fenced {
			c.w.mark(ResolvedCommitted)
		}
		c.acked++
	}
	c.leader = n.id
	c.settle()
}
