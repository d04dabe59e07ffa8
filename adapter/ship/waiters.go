package ship

import (
	"container/heap"

	"github.com/pinetree-db/pinetree"
)

// waiters are those who wait for the log to become durable up to an LSN, the
// lowest first, so that an acknowledgement wakes those whom it answers and no
// others. The Writer's lock guards it.
type waiters []*waiter

// waiter is one of them.
type waiter struct {
	lsn   pinetree.LSN
	at    int           // in the heap; -1 once it was told
	ready chan struct{} // closed when told
}

func (q *waiters) add(lsn pinetree.LSN) *waiter {
	w := &waiter{lsn: lsn, ready: make(chan struct{})}
	heap.Push(q, w)
	return w
}

// remove forgets a waiter that gave up.
func (q *waiters) remove(w *waiter) {
	if w.at >= 0 {
		heap.Remove(q, w.at)
	}
}

// tell wakes everybody up to an LSN.
func (q *waiters) tell(durable pinetree.LSN) {
	for len(*q) > 0 && (*q)[0].lsn <= durable {
		close(heap.Pop(q).(*waiter).ready)
	}
}

// tellAll wakes everybody, at the Writer's end.
func (q *waiters) tellAll() { q.tell(^pinetree.LSN(0)) }

// Len implements heap.Interface.
func (q waiters) Len() int { return len(q) }

// Less implements heap.Interface.
func (q waiters) Less(i, j int) bool { return q[i].lsn < q[j].lsn }

// Swap implements heap.Interface.
func (q waiters) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push implements heap.Interface.
func (q *waiters) Push(x any) {
	w := x.(*waiter)
	w.at = len(*q)
	*q = append(*q, w)
}

// Pop implements heap.Interface.
func (q *waiters) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.at = -1
	return w
}
