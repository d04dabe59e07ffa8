package history

import "github.com/pinetree-db/pinetree"

type markKey struct {
	node   pinetree.NodeID
	volume pinetree.VolumeID
}

type seenMarks struct {
	life Life
	last pinetree.Watermarks
}

// Life tells apart what may let watermarks fall: a restart of the node, and,
// for what a leader's queue holds, the raft term in which it leads and the
// openings of compute terms.
type Life struct {
	Start int
	Leads pinetree.RaftTerm
	Opens int
}

// Watermarks is told of a volume's watermarks on a node.
func (h *History) Watermarks(node pinetree.NodeID, id pinetree.VolumeID, life Life, w pinetree.Watermarks) {
	if wrong := w.Disorder(); wrong != "" {
		h.Fail("volume %d on node %d: watermarks out of order: %s: %+v", id, node, wrong, w)
	}
	key := markKey{node, id}
	seen, there := h.marks[key]
	h.marks[key] = seenMarks{life, w}
	if !there || seen.life.Start != life.Start {
		return
	}
	if w.Truncated < seen.last.Truncated || w.Flushed < seen.last.Flushed || w.Applied < seen.last.Applied || w.Committed < seen.last.Committed {
		h.Fail("volume %d on node %d: watermarks fell from %+v to %+v", id, node, seen.last, w)
	}
	if seen.life == life && (w.Ordered < seen.last.Ordered || w.Received < seen.last.Received) {
		h.Fail("volume %d on node %d: the queue's watermarks fell from %+v to %+v", id, node, seen.last, w)
	}
}
