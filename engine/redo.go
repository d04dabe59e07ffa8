package engine

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const (
	// MaxKeyBytes bounds a key, so that every backend can keep it with its
	// version and order in one of its own keys.
	MaxKeyBytes = 16 << 10
	// MaxPageBytes bounds a page. An image always fits because its batch does;
	// the limit stops a patch at an absurd offset from claiming the memory of
	// the gap before it.
	MaxPageBytes = storepb.MaxBatchBytes
)

// OpKind tells what an Op changes.
type OpKind uint8

// The kinds of Op, one for each message of storepb.RedoOp.
const (
	PageImage OpKind = iota + 1
	PagePatch
	KeyPut
	KeyDelete
)

// Op is one change of a page or a key, decoded from a storepb.Redo. Its slices
// share the payload's memory.
type Op struct {
	Kind   OpKind
	Page   pinetree.PageNo // of an image or a patch
	Offset int             // of a patch, in bytes
	Key    []byte          // of a put or a delete
	Data   []byte          // the image, the patch's bytes or the value
}

// Patch returns the page after a PagePatch: its bytes overwrite what is there,
// a patch that ends beyond the page lengthens it, and a gap is filled with
// zeroes. A page that never had an image is empty: a patch without an image is
// a mistake of the writer which must not stop every replica, and this way all
// of them read the same. The page's memory may be reused.
func (o Op) Patch(page []byte) []byte {
	if end := o.Offset + len(o.Data); end > len(page) {
		page = append(page, make([]byte, end-len(page))...)
	}
	copy(page[o.Offset:], o.Data)
	return page
}

// DecodeRedo calls fn for each change in the payload of a redo volume's
// record, in order, until fn returns an error, which it passes on. It reads
// the wire form of storepb.Redo in place, without a copy. What does not
// decode, breaks a limit or is a field that this build does not know is a
// *pinetree.CorruptError: to leave out a change that one does not understand
// would make this replica differ from the others.
func DecodeRedo(payload []byte, fn func(Op) error) error {
	return eachField(payload, func(f field) error {
		body, err := f.bytes(1)
		if err != nil {
			return err
		}
		op, err := decodeOp(body)
		if err != nil {
			return err
		}
		return fn(op)
	})
}

// CheckRedo reads every payload of a redo volume's batch and reports what
// Apply would refuse. A node that takes a batch from a writer calls it before
// the batch is proposed, since a batch that is committed and cannot be
// replayed stops all replicas.
func CheckRedo(b pinetree.Batch) error {
	return EachOp(b, func(pinetree.LSN, Op) error { return nil })
}

// EachOp calls fn for each change of a redo volume's batch, in order, with the
// LSN of its record. Errors are those of DecodeRedo, with the place named.
func EachOp(b pinetree.Batch, fn func(pinetree.LSN, Op) error) error {
	var lsn pinetree.LSN
	each := func(op Op) error { return fn(lsn, op) } // one for all records
	return storepb.Records(b, func(r pinetree.Record) error {
		lsn = r.LSN
		err := DecodeRedo(r.Payload, each)
		if bad := (*pinetree.CorruptError)(nil); errors.As(err, &bad) && bad.Where == redoPayload {
			return &pinetree.CorruptError{
				Where: fmt.Sprintf("redo record (%s, %s] of volume %d", r.Prev, r.LSN, b.Volume),
				What:  bad.What,
			}
		}
		return err
	})
}

const redoPayload = "redo payload"

func badRedo(format string, args ...any) error {
	return &pinetree.CorruptError{Where: redoPayload, What: fmt.Sprintf(format, args...)}
}

// decodeOp reads a storepb.RedoOp, which holds exactly one change.
func decodeOp(body []byte) (Op, error) {
	var op Op
	err := eachField(body, func(f field) error {
		if op.Kind != 0 {
			return badRedo("two changes in one op")
		}
		if f.num < 1 || f.num > 4 {
			return badRedo("change of kind %d, this build knows 1 to 4", f.num)
		}
		op.Kind = OpKind(f.num)
		change, err := f.bytes(f.num)
		if err != nil {
			return err
		}
		return eachField(change, op.set)
	})
	switch {
	case err != nil:
		return op, err
	case op.Kind == 0:
		return op, badRedo("an op without a change")
	case len(op.Key) > MaxKeyBytes:
		return op, badRedo("key of %d bytes, the limit is %d", len(op.Key), MaxKeyBytes)
	case op.Kind <= PagePatch && op.Offset+len(op.Data) > MaxPageBytes:
		return op, badRedo("page %d would have %d bytes, the limit is %d", op.Page, op.Offset+len(op.Data), MaxPageBytes)
	}
	return op, nil
}

// set takes one field of PageImage, PagePatch, KeyPut or KeyDelete.
func (o *Op) set(f field) error {
	var err error
	var n uint64
	switch {
	case o.Kind <= PagePatch && f.num == 1:
		n, err = f.uint(1)
		o.Page = pinetree.PageNo(n)
	case o.Kind == PageImage && f.num == 2, o.Kind == PagePatch && f.num == 3, o.Kind == KeyPut && f.num == 2:
		o.Data, err = f.bytes(f.num)
	case o.Kind == PagePatch && f.num == 2:
		n, err = f.uint(2)
		if n > MaxPageBytes {
			return badRedo("page %d: patch at offset %d, the limit is %d", o.Page, n, MaxPageBytes)
		}
		o.Offset = int(n)
	case o.Kind >= KeyPut && f.num == 1:
		o.Key, err = f.bytes(1)
	default:
		return badRedo("field %d in a change of kind %d, this build does not know it", f.num, o.Kind)
	}
	return err
}

// field is one field of a protobuf message, still encoded.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	value []byte
}

func eachField(message []byte, fn func(field) error) error {
	for len(message) > 0 {
		num, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return badRedo("bad field tag")
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(num, typ, message); n < 0 {
			return badRedo("field %d is cut short or malformed", num)
		}
		if err := fn(field{num: num, typ: typ, value: message[:n]}); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}

func (f field) bytes(want protowire.Number) ([]byte, error) {
	if f.num != want || f.typ != protowire.BytesType {
		return nil, badRedo("field %d of wire type %d, want field %d as bytes", f.num, f.typ, want)
	}
	b, _ := protowire.ConsumeBytes(f.value)
	return b[:len(b):len(b)], nil
}

func (f field) uint(want protowire.Number) (uint64, error) {
	if f.num != want || f.typ != protowire.VarintType {
		return 0, badRedo("field %d of wire type %d, want field %d as a number", f.num, f.typ, want)
	}
	n, _ := protowire.ConsumeVarint(f.value)
	return n, nil
}
