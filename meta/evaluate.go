package meta

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/pinetree-db/pinetree"
)

// What follows decides what transactions do, on every replica: changing a number
// here makes replicas of different builds differ.
const (
	// DefaultBytes is what a volume may keep whose settings do not say.
	DefaultBytes = 64 << 20
	// MaxTxnChanges bounds the keys that one transaction changes: a delete may
	// mean any number of them.
	MaxTxnChanges = 16 << 10
	// MaxGetItems is how many items a get lists at most.
	MaxGetItems = 1000
	// MaxGetBytes bounds the keys and values of the items that a transaction reads,
	// but for the first item of each get.
	MaxGetBytes = 2 << 20
)

// Result is what a transaction that was carried out did.
type Result struct {
	Succeeded bool                  // the compares held
	Revision  pinetree.MetaRevision // after it
	Ops       []OpResult            // of the branch that was taken, in order
	Repeated  bool                  // it had been carried out before
}

// OpResult is what one op did.
type OpResult struct {
	Items   []Item // of a get
	Deleted int    // keys, by a delete
	More    bool   // a get met its limit
}

// Proposal is a transaction that is in the log.
type Proposal struct {
	Txn
	Index pinetree.RaftIndex // of its entry
	Quota int64              // what the volume may keep, in bytes; zero is DefaultBytes
}

// Evaluate decides what a transaction does to a table: the Delta is what it changes,
// the Result or the error what its client is told. A transaction that is refused
// changes nothing. Errors: pinetree.ErrOverQuota, with the figures;
// pinetree.ErrBadBatch, for one that would change too many keys or has the id of
// another; pinetree.ErrTruncated, for one that was carried out before, with gets
// whose answer was compacted, or may have been and is forgotten.
func Evaluate(t *Table, p Proposal) (Delta, Result, error) {
	d := Delta{Revision: t.revision, Compacted: t.compacted}
	if m := t.recall(p.ID); m != nil {
		result, err := t.repeat(p.Txn, m)
		return d, result, err
	}
	if len(p.ID) > 0 && t.forgot(p.Since) {
		return d, Result{}, Refusal{Reason: Forgotten, Figure: int64(p.Since), Limit: MaxMemories}
	}
	succeeded := t.holds(p.Compares)
	e := evaluation{table: t, before: t.revision, after: t.revision, pending: map[string]*pending{}}
	ops := p.branch(succeeded)
	err := e.write(ops)
	var changes []Record
	if err == nil {
		changes, err = e.changes(p.Quota)
	}
	if err != nil {
		return d, Result{}, err
	}
	result := Result{Succeeded: succeeded}
	if len(changes) > 0 {
		e.after++
		d.Revision, d.Records = e.after, changes
		if len(p.ID) > 0 {
			d.Records = append(d.Records, Record{Memory: &Memory{
				Index: p.Index, ID: p.ID, Sum: p.sum(), Succeeded: succeeded, Before: e.before, Revision: e.after, Deleted: e.deleted,
			}})
		}
	}
	result.Revision = e.after
	result.Ops, err = t.results(ops, e.before, e.deleted)
	return d, result, err
}

func (x Txn) branch(succeeded bool) []Op {
	if succeeded {
		return x.Then
	}
	return x.Otherwise
}

// repeat answers a transaction as it was answered before.
func (t *Table) repeat(x Txn, m *Memory) (Result, error) {
	if x.sum() != m.Sum {
		return Result{}, refuse("id %x is that of another transaction, which made revision %d; every transaction has an id of its own", m.ID, m.Revision)
	}
	ops, err := t.results(x.branch(m.Succeeded), m.Before, m.Deleted)
	if err != nil {
		return Result{}, fmt.Errorf("the transaction was carried out at revision %d, succeeded: %t, but what it read is gone: %w", m.Revision, m.Succeeded, err)
	}
	return Result{Succeeded: m.Succeeded, Revision: m.Revision, Ops: ops, Repeated: true}, nil
}

// results lists what the ops of a branch did, from the state before and what the
// deletes found.
func (t *Table) results(ops []Op, before pinetree.MetaRevision, deleted []int) ([]OpResult, error) {
	results := make([]OpResult, len(ops))
	left := MaxGetBytes
	for n, op := range ops {
		switch op.Kind {
		case OpGet:
			spec := RangeSpec{Span: op.Span, Revision: before, Limit: MaxGetItems, MaxBytes: max(left, 1)}
			if op.Limit > 0 {
				spec.Limit = min(op.Limit, MaxGetItems)
			}
			read, err := t.Range(spec)
			if before == 0 {
				read, err = RangeRead{}, nil // revision zero is empty, and would mean the newest
			}
			if err != nil {
				return nil, err
			}
			for _, item := range read.Items {
				left -= len(item.Key) + len(item.Value)
			}
			results[n] = OpResult{Items: read.Items, More: read.More}
		case OpDelete:
			results[n].Deleted, deleted = deleted[0], deleted[1:]
		case OpPut:
		}
	}
	return results, nil
}

func (t *Table) holds(compares []Compare) bool {
	return !slices.ContainsFunc(compares, func(c Compare) bool { return !t.hold(c) })
}

func (t *Table) hold(c Compare) bool {
	there := t.get(c.Key, t.revision)
	var order int
	switch c.Target {
	case TargetValue:
		if there == nil {
			return c.Relation == NotEqual
		}
		order = bytes.Compare(there.Value, c.Value)
	default:
		var number uint64
		if there != nil {
			number = map[Target]uint64{TargetVersion: there.Version, TargetCreated: uint64(there.Created), TargetModified: uint64(there.Modified)}[c.Target]
		}
		order = compareRevisions(pinetree.MetaRevision(number), pinetree.MetaRevision(c.Number))
	}
	switch c.Relation {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Less:
		return order < 0
	}
	return order > 0
}

// evaluation is one run of a transaction's writes.
type evaluation struct {
	table         *Table
	before, after pinetree.MetaRevision
	pending       map[string]*pending
	deleted       []int
	puts          bool
}

// pending is what has become of a key so far.
type pending struct {
	there   bool
	removed bool // by this transaction, so that a put makes it anew
	value   []byte
}

func (e *evaluation) write(ops []Op) error {
	for _, op := range ops {
		switch op.Kind {
		case OpPut:
			e.puts = true
			p := e.at(op.Key)
			p.there, p.value = true, op.Value
		case OpDelete:
			e.deleted = append(e.deleted, e.remove(op.Span))
		case OpGet:
		}
		if n := len(e.pending); n > MaxTxnChanges {
			return Refusal{Reason: TooManyChanges, Limit: MaxTxnChanges}
		}
	}
	return nil
}

// at is what has become of a key, with a note of it from now on.
func (e *evaluation) at(key []byte) *pending {
	p := e.pending[string(key)]
	if p == nil {
		p = &pending{there: e.table.get(key, e.before) != nil}
		e.pending[string(key)] = p
	}
	return p
}

func (e *evaluation) remove(s Span) (n int) {
	e.table.each(s, e.before, func(c *Change) bool {
		e.at(c.Key)
		return len(e.pending) <= MaxTxnChanges
	})
	for key, p := range e.pending {
		if p.there && s.Contains([]byte(key)) {
			p.there, p.removed, p.value = false, true, nil
			n++
		}
	}
	return n
}

// changes lists what the transaction changes in the end, by key, unless the volume
// would keep more than it may. What puts nothing is let through.
func (e *evaluation) changes(quota int64) ([]Record, error) {
	var list []Record
	bytes := e.table.bytes
	for _, key := range slices.Sorted(maps.Keys(e.pending)) {
		p, was := e.pending[key], e.table.get([]byte(key), e.before)
		c := &Change{Item: Item{Key: []byte(key), Value: p.value, Created: e.before + 1, Modified: e.before + 1, Version: 1}}
		switch {
		case !p.there && was == nil:
			continue
		case !p.there:
			c.Created, c.Version, c.Deleted = 0, 0, true
		case was != nil && !p.removed:
			c.Created, c.Version = was.Created, was.Version+1
		}
		bytes += c.Bytes()
		list = append(list, Record{Change: c})
	}
	if quota == 0 {
		quota = DefaultBytes
	}
	if e.puts && len(list) > 0 && bytes > quota {
		return nil, Refusal{Reason: OverQuota, Figure: bytes, Limit: quota}
	}
	return list, nil
}
