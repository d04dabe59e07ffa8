package pagestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// maxTransactionBytes bounds the redo of a transaction, so that it fits into one
// batch. A batch is replayed as a whole or not at all, and so is a transaction.
const maxTransactionBytes = storepb.MaxBatchBytes / 2

// ErrTooLarge is the error of a transaction that changes too much.
var ErrTooLarge = errors.New("the transaction is too large")

// Txn is a transaction while the function runs that it was made for, whose
// goroutine alone uses it.
type Txn struct {
	ctx      context.Context
	store    *Store
	readOnly bool
	// changed has the transaction's own copies of pages, fresh tells which of them
	// the storage has nothing of yet.
	changed map[pinetree.PageNo][]byte
	fresh   map[pinetree.PageNo]bool
	ops     []*storepb.RedoOp // one for each change of a page that is not fresh
	bytes   int
	tell    func(Commit)
}

// Commit names a transaction for ever: asked with it, the storage can tell whether
// it has happened (ship.Client.Resolve).
type Commit struct {
	Term pinetree.ComputeTerm
	LSN  pinetree.LSN
}

// Read copies what stands in a page from an offset on. What was never written is
// zero.
func (t *Txn) Read(page pinetree.PageNo, offset int, into []byte) error {
	if err := within(page, offset, into); err != nil {
		return err
	}
	data, err := t.look(page)
	if err != nil {
		return err
	}
	clear(into)
	if data != nil {
		copy(into, data[offset:])
	}
	return nil
}

// Write changes a page from an offset on. Page 0 is the store's own.
func (t *Txn) Write(page pinetree.PageNo, offset int, data []byte) error {
	if err := within(page, offset, data); err != nil {
		return err
	}
	if t.readOnly || page == header {
		return fmt.Errorf("%w: page %d is not to be written in this transaction", pinetree.ErrBadBatch, page)
	}
	return t.write(page, offset, data)
}

func (t *Txn) write(page pinetree.PageNo, offset int, data []byte) error {
	own, ok := t.changed[page]
	if !ok {
		newest, err := t.look(page)
		if err != nil {
			return err
		}
		own = make([]byte, PageBytes)
		copy(own, newest)
		t.changed[page] = own
		if newest == nil {
			t.fresh[page] = true
			t.bytes += PageBytes
		}
	}
	copy(own[offset:], data)
	if t.fresh[page] {
		return nil // goes as a whole
	}
	t.bytes += len(data) + patchBytes
	t.ops = append(t.ops, &storepb.RedoOp{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{
		Page: uint64(page), Offset: uint32(offset), Bytes: append([]byte(nil), data...),
	}}})
	return nil
}

// patchBytes is more than a patch takes beside its bytes.
const patchBytes = 64

// look returns the page as the transaction sees it.
func (t *Txn) look(page pinetree.PageNo) ([]byte, error) {
	if own, ok := t.changed[page]; ok {
		return own, nil
	}
	return t.store.page(t.ctx, page)
}

// OnShip has fn called when the transaction is complete and about to leave. A
// compute node that may be killed writes the Commit down where it is found again,
// or gives it to whoever waits for the transaction: that is what can be asked for
// afterwards.
func (t *Txn) OnShip(fn func(Commit)) { t.tell = fn }

func within(page pinetree.PageNo, offset int, data []byte) error {
	if offset < 0 || offset+len(data) > PageBytes {
		return fmt.Errorf("%w: %d bytes at offset %d of page %d, which has %d", pinetree.ErrBadBatch, len(data), offset, page, PageBytes)
	}
	return nil
}

// records makes the transaction's redo, to follow on what the log ends with: one
// record for each change, and last the one that counts the transaction.
func (t *Txn) records() ([]pinetree.Record, error) {
	ops := t.ops
	for page := range maps.Keys(t.fresh) {
		if page != header {
			ops = append(ops, image(page, t.changed[page]))
		}
	}
	count := make([]byte, 8)
	binary.LittleEndian.PutUint64(count, t.store.commits+1)
	if err := t.write(header, 0, count); err != nil {
		return nil, err
	}
	if t.fresh[header] {
		ops = append(ops, image(header, t.changed[header]))
	} else {
		ops = append(ops, t.ops[len(t.ops)-1])
	}
	if t.bytes > maxTransactionBytes {
		return nil, fmt.Errorf("%w: it has about %d bytes of redo, the limit is %d; divide it", ErrTooLarge, t.bytes, maxTransactionBytes)
	}
	records := make([]pinetree.Record, 0, len(ops))
	prev := t.store.tail
	for _, op := range ops {
		payload, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{op}})
		if err != nil {
			return nil, err
		}
		r := pinetree.Record{Prev: prev, LSN: prev + pinetree.LSN(len(payload)), Payload: payload}
		records = append(records, r)
		prev = r.LSN
	}
	return records, nil
}

func image(page pinetree.PageNo, data []byte) *storepb.RedoOp {
	return &storepb.RedoOp{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: uint64(page), Image: data}}}
}
