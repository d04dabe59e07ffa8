package main

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
)

// ledger is what the clients of the bank know: every transaction that was begun,
// and what they were told of it. It is what the storage is compared with, so it
// goes by their word and by Resolve's and looks at no page.
type ledger struct {
	mu   sync.Mutex
	txns []*txn
	open map[name]*txn // of which the clients have heard nothing yet
	seen []event       // snapshots of the read-only compute node
	// acked is the end of the last transaction that a client was told of.
	acked pinetree.LSN
	wrong []string // what no client may be told
}

// name is how a process calls a transaction.
type name struct {
	process int
	number  uint64
}

// txn is one transaction.
type txn struct {
	name
	term  pinetree.ComputeTerm
	lsn   pinetree.LSN
	found bool
	moves []move
	state state
}

// state is what is known of a transaction.
type state int

const (
	begun    state = iota // nothing
	happened              // it is durable
	never                 // it is not, and never will be
)

// hear takes note of what a process says.
func (l *ledger) hear(c *child, e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := name{c.number, e.Txn}
	switch e.What {
	case shipping:
		t := &txn{name: n, term: e.Term, lsn: e.LSN, found: e.Found, moves: e.Moves}
		l.txns = append(l.txns, t)
		if l.open == nil {
			l.open = map[name]*txn{}
		}
		l.open[n] = t
	case done, undone:
		t := l.open[n]
		if t == nil {
			l.wrong = append(l.wrong, fmt.Sprintf("process %d says that transaction %d is %s, of which it had not said that it begins", n.process, n.number, e.What))
			return
		}
		delete(l.open, n)
		t.state = never
		if e.What == done {
			t.state = happened
			l.acked = max(l.acked, t.lsn)
		}
	case looked:
		l.seen = append(l.seen, e)
	}
}

// doubts are the transactions of lower compute terms of which no client was told
// what became of them. Their processes must have ended.
func (l *ledger) doubts(below pinetree.ComputeTerm) []*txn {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []*txn
	for _, t := range l.open {
		if t.term < below {
			list = append(list, t)
		}
	}
	return list
}

// resolve takes note of what became of a transaction.
func (l *ledger) resolve(t *txn, o adapter.Outcome) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch o {
	case adapter.Committed:
		t.state = happened
	case adapter.Rejected:
		t.state = never
	default:
		return fmt.Errorf("what became of the transaction that ends at %s of compute term %d is %q after a higher term was opened; want committed or rejected", t.lsn, t.term, o)
	}
	delete(l.open, t.name)
	return nil
}

// disagreements compares what clients of lower compute terms were told with where
// the log ended when the next one was opened.
func (l *ledger) disagreement(next pinetree.ComputeTerm, durable pinetree.LSN) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) > 0 {
		return fmt.Errorf("%s", l.wrong[0])
	}
	for _, t := range l.txns {
		if t.term < next && t.state == happened && t.lsn > durable {
			return fmt.Errorf("the transaction that ends at %s of compute term %d has happened, and the log ended at %s when term %d was opened", t.lsn, t.term, durable, next)
		}
	}
	return nil
}

// numbers are how many transactions have happened and how many never did.
func (l *ledger) numbers() (yes, no int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.txns {
		switch t.state {
		case happened:
			yes++
		case never:
			no++
		}
	}
	return yes, no
}

// lastAcked is the end of the last transaction that a client was told of.
func (l *ledger) lastAcked() pinetree.LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// replay calls at with the books after each transaction that has happened up to an
// LSN, in their order, and returns the last ones and how many there are.
func (l *ledger) replay(upTo pinetree.LSN, at func(pinetree.LSN, *books)) (*books, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []*txn
	for _, t := range l.txns {
		switch {
		case t.lsn > upTo || t.state == never:
		case t.state == happened:
			list = append(list, t)
		case l.newest() > t.term:
			return nil, 0, fmt.Errorf("the transaction that ends at %s of compute term %d is still in doubt", t.lsn, t.term)
		}
	}
	slices.SortFunc(list, func(a, b *txn) int { return cmp.Compare(a.lsn, b.lsn) })
	b := new(books)
	for i, t := range list {
		if i > 0 && list[i-1].lsn == t.lsn {
			return nil, 0, fmt.Errorf("two transactions that have happened end at %s", t.lsn)
		}
		if t.found {
			b.found()
		}
		for _, m := range t.moves {
			b.move(m)
		}
		at(t.lsn, b)
	}
	return b, uint64(len(list)), nil
}

// newest is the highest compute term of any transaction; mu is held.
func (l *ledger) newest() pinetree.ComputeTerm {
	var term pinetree.ComputeTerm
	for _, t := range l.txns {
		term = max(term, t.term)
	}
	return term
}

// checkSnapshots compares what the read-only compute node has seen with the books
// at the very LSNs of its snapshots.
func (l *ledger) checkSnapshots() (int, error) {
	l.mu.Lock()
	seen := slices.Clone(l.seen)
	l.mu.Unlock()
	hashes := map[pinetree.LSN]uint64{}
	last := pinetree.LSN(0)
	for _, e := range seen {
		last = max(last, e.LSN)
		if e.LSN < e.Least {
			return 0, fmt.Errorf("a snapshot that was to be at least at %s is at %s", e.Least, e.LSN)
		}
	}
	_, _, err := l.replay(last, func(lsn pinetree.LSN, b *books) { hashes[lsn] = b.hash() })
	if err != nil {
		return 0, err
	}
	for _, e := range seen {
		want, ok := hashes[e.LSN]
		switch {
		case !ok:
			return 0, fmt.Errorf("a snapshot is at %s, where no transaction ends", e.LSN)
		case e.Hash != want || e.Sum != total:
			return 0, fmt.Errorf("the snapshot at %s from node %d, %d in all, is not what the transactions up to there make of the bank", e.LSN, e.Node, e.Sum)
		}
	}
	return len(seen), nil
}
