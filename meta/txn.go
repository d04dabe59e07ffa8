package meta

import (
	"encoding/binary"
	"fmt"
	"hash/crc64"

	"github.com/pinetree-db/pinetree"
)

// Limits of one transaction, checked before it goes into the log.
const (
	MaxKeyBytes   = 4 << 10
	MaxValueBytes = 1 << 20
	MaxIDBytes    = 64
	// MaxOps bounds the compares, and the ops of each branch.
	MaxOps = 128
	// MaxTxnBytes bounds the keys and values of a transaction.
	MaxTxnBytes = 3 << 19
)

// Txn compares and then writes, in one step. Compares and gets see the state
// before it; of the writes, each sees those before it.
type Txn struct {
	Compares  []Compare // all must hold
	Then      []Op
	Otherwise []Op // when one does not
	// ID, when not empty, is random and names the transaction: one that was
	// carried out lately is not carried out again, but answered as it was then.
	ID []byte
	// Since, when not zero, is a revision that there was before the transaction was
	// first sent. One that may have been carried out and forgotten since then is
	// refused, so that it is never carried out twice.
	Since pinetree.MetaRevision
}

// Target is what a Compare looks at.
type Target uint8

// The targets. Of a key that is not there all numbers are zero, and it has no
// value: it equals none and is neither less nor greater.
const (
	TargetValue Target = iota
	TargetVersion
	TargetCreated
	TargetModified
	targets
)

// Relation is what a Compare wants of it.
type Relation uint8

// The relations, of what is there to what the Compare names.
const (
	Equal Relation = iota
	NotEqual
	Less
	Greater
	relations
)

// Compare is a condition on one key.
type Compare struct {
	Key      []byte
	Target   Target
	Relation Relation
	Value    []byte // of TargetValue
	Number   uint64 // of the others
}

// OpKind tells what an Op does.
type OpKind uint8

// The kinds of Op.
const (
	OpPut    OpKind = iota + 1 // sets Key to Value
	OpDelete                   // removes the keys of the span
	OpGet                      // reads the keys of the span, at most Limit of them
)

// Op is one step of a transaction.
type Op struct {
	Kind OpKind
	Span
	Value []byte
	Limit int
}

// Size is the bytes of the transaction's keys and values.
func (x Txn) Size() int {
	size := len(x.ID)
	for _, c := range x.Compares {
		size += len(c.Key) + len(c.Value)
	}
	for _, ops := range [][]Op{x.Then, x.Otherwise} {
		for _, op := range ops {
			size += len(op.Key) + len(op.End) + len(op.Value)
		}
	}
	return size
}

// Check reports, as a pinetree.ErrBadBatch, what is beyond a limit or makes no
// sense. Who takes a transaction from a client calls it; once one is in the log,
// it is what it is.
func (x Txn) Check() error {
	if len(x.Compares) > MaxOps || len(x.Then) > MaxOps || len(x.Otherwise) > MaxOps {
		return refuse("%d compares, %d ops and %d otherwise; the limit of each is %d", len(x.Compares), len(x.Then), len(x.Otherwise), MaxOps)
	}
	if len(x.ID) > MaxIDBytes {
		return refuse("an id of %d bytes, the limit is %d", len(x.ID), MaxIDBytes)
	}
	if size := x.Size(); size > MaxTxnBytes {
		return refuse("%d bytes of keys and values, the limit is %d; write in several transactions", size, MaxTxnBytes)
	}
	for _, c := range x.Compares {
		if c.Target >= targets || c.Relation >= relations {
			return refuse("a compare of target %d, relation %d; there are %d targets and %d relations", c.Target, c.Relation, targets, relations)
		}
		if err := checkKey(c.Key); err != nil {
			return err
		}
	}
	for _, ops := range [][]Op{x.Then, x.Otherwise} {
		for _, op := range ops {
			if err := op.check(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o Op) check() error {
	switch {
	case o.Kind < OpPut || o.Kind > OpGet:
		return refuse("an op of kind %d", o.Kind)
	case o.Kind != OpPut:
		if o.Limit < 0 {
			return refuse("a limit of %d", o.Limit)
		}
		return o.Span.Check()
	case len(o.End) > 0:
		return refuse("a put of a range; put each key")
	case len(o.Value) > MaxValueBytes:
		return refuse("a value of %d bytes, the limit is %d", len(o.Value), MaxValueBytes)
	}
	return checkKey(o.Key)
}

// Check reports, as a pinetree.ErrBadBatch, keys that there cannot be.
func (s Span) Check() error {
	if len(s.Key) > MaxKeyBytes || len(s.End) > MaxKeyBytes {
		return refuse("a key of %d bytes, the limit is %d", max(len(s.Key), len(s.End)), MaxKeyBytes)
	}
	if len(s.End) == 0 {
		return checkKey(s.Key)
	}
	return nil
}

func checkKey(key []byte) error {
	if len(key) == 0 || len(key) > MaxKeyBytes {
		return refuse("a key of %d bytes, keys have 1 to %d", len(key), MaxKeyBytes)
	}
	return nil
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: metadata transaction: %s", pinetree.ErrBadBatch, fmt.Sprintf(format, args...))
}

var sumTable = crc64.MakeTable(crc64.ECMA)

// sum tells transactions of one id apart. It is stored, so it must stay as it is.
func (x Txn) sum() uint64 {
	var buf []byte
	add := func(data []byte, numbers ...uint64) {
		for _, n := range numbers {
			buf = binary.AppendUvarint(buf, n)
		}
		buf = append(binary.AppendUvarint(buf, uint64(len(data))), data...)
	}
	for _, c := range x.Compares {
		add(c.Key, 0, uint64(c.Target), uint64(c.Relation), c.Number)
		add(c.Value)
	}
	for branch, ops := range [][]Op{x.Then, x.Otherwise} {
		for _, op := range ops {
			add(op.Key, uint64(branch)+1, uint64(op.Kind), uint64(op.Limit))
			add(op.End)
			add(op.Value)
		}
	}
	return crc64.Checksum(buf, sumTable)
}
