package adapter

import "fmt"

// disorder reports the first invariant of the queue that does not hold, or "".
// It counts from scratch and shares nothing with the code it checks.
func (q *Queue) disorder() string {
	at, bytes, largest := q.ordered, 0, 0
	for _, b := range q.ready {
		if b.Prev != at {
			return fmt.Sprintf("ready: %s does not follow on %s", span(b), at)
		}
		at = b.LSN
	}
	if at != q.tail {
		return fmt.Sprintf("ready ends at %s, tail is %s", at, q.tail)
	}
	for _, b := range q.held {
		switch {
		case b.Prev < at:
			return fmt.Sprintf("held: %s begins before %s", span(b), at)
		case b.Prev == q.tail:
			return fmt.Sprintf("held: %s follows on the tail and is not ready", span(b))
		}
		at = b.LSN
	}
	if q.Received() != at {
		return fmt.Sprintf("received is %s, should be %s", q.Received(), at)
	}
	for _, b := range append(q.ready[:len(q.ready):len(q.ready)], q.held...) {
		if b.Term != q.term || b.LSN <= b.Prev {
			return fmt.Sprintf("%s of term %d is in a queue of term %d", span(b), b.Term, q.term)
		}
		bytes += b.Size()
		largest = max(largest, b.Size())
	}
	switch n := len(q.ready) + len(q.held); {
	case bytes != q.bytes:
		return fmt.Sprintf("%d bytes counted, %d are there", q.bytes, bytes)
	case bytes > q.limits.MaxHeldBytes+largest && bytes > largest:
		return fmt.Sprintf("%d bytes, the limit is %d", bytes, q.limits.MaxHeldBytes)
	case n > q.limits.MaxHeldBatches+1:
		return fmt.Sprintf("%d batches, the limit is %d", n, q.limits.MaxHeldBatches)
	}
	return ""
}
