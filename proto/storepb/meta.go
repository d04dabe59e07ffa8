package storepb

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/meta"
)

// StoreMetaTxn is the control that carries a transaction on a volume's metadata.
// It shares the transaction's memory.
func StoreMetaTxn(volume pinetree.VolumeID, txn meta.Txn, asker Asker) *Control {
	m := &MetaTxn{Volume: uint64(volume), Then: storeOps(txn.Then), Otherwise: storeOps(txn.Otherwise), Id: txn.ID, Since: uint64(txn.Since), Asker: uint64(asker)}
	for _, c := range txn.Compares {
		m.Compares = append(m.Compares, &MetaCompare{
			Key: c.Key, Target: uint32(c.Target), Relation: uint32(c.Relation), Value: c.Value, Number: c.Number,
		})
	}
	return &Control{Op: &Control_MetaTxn{MetaTxn: m}}
}

// StoreMetaCompact is the control that gives up history of a volume's metadata.
func StoreMetaCompact(volume pinetree.VolumeID, to pinetree.MetaRevision) *Control {
	return &Control{Op: &Control_MetaCompact{MetaCompact: &MetaCompact{Volume: uint64(volume), Revision: uint64(to)}}}
}

// Asker is the random number by which one who waits for the outcome of a
// transaction knows it.
type Asker uint64

func storeOps(ops []meta.Op) []*MetaOp {
	var list []*MetaOp
	for _, op := range ops {
		list = append(list, &MetaOp{Kind: uint32(op.Kind), Key: op.Key, End: op.End, Value: op.Value, Limit: uint32(op.Limit)})
	}
	return list
}

// Read is what StoreMetaTxn was given, or a *pinetree.CorruptError when it has
// something that this build does not know: to leave it out would make this replica
// differ from the others.
func (x *MetaTxn) Read() (meta.Txn, error) {
	txn := meta.Txn{ID: x.GetId(), Since: pinetree.MetaRevision(x.GetSince())}
	for _, c := range x.GetCompares() {
		if meta.Target(c.Target) > meta.TargetModified || meta.Relation(c.Relation) > meta.Greater || unknown(c) {
			return txn, unread("a compare of target %d, relation %d", c.Target, c.Relation)
		}
		txn.Compares = append(txn.Compares, meta.Compare{
			Key: c.Key, Target: meta.Target(c.Target), Relation: meta.Relation(c.Relation), Value: c.Value, Number: c.Number,
		})
	}
	var err error
	if txn.Then, err = readOps(x.GetThen()); err != nil {
		return txn, err
	}
	if txn.Otherwise, err = readOps(x.GetOtherwise()); err != nil {
		return txn, err
	}
	if unknown(x) {
		return txn, unread("a field")
	}
	return txn, nil
}

func readOps(ops []*MetaOp) ([]meta.Op, error) {
	var list []meta.Op
	for _, op := range ops {
		if op.Kind < uint32(meta.OpPut) || op.Kind > uint32(meta.OpGet) || unknown(op) {
			return nil, unread("an op of kind %d", op.Kind)
		}
		list = append(list, meta.Op{Kind: meta.OpKind(op.Kind), Span: meta.Span{Key: op.Key, End: op.End}, Value: op.Value, Limit: int(op.Limit)})
	}
	return list, nil
}

func unknown(m proto.Message) bool { return len(m.ProtoReflect().GetUnknown()) > 0 }

func unread(format string, args ...any) error {
	return &pinetree.CorruptError{Where: "metadata", What: fmt.Sprintf(format, args...) + ", which this build does not know"}
}

// EncodeMetaRecord makes the stored form of a part of a volume's metadata.
func EncodeMetaRecord(volume pinetree.VolumeID, r meta.Record) ([]byte, error) {
	m := &MetaRecord{Volume: uint64(volume)}
	if c := r.Change; c != nil {
		m.Record = &MetaRecord_Change{Change: &MetaChange{
			Key: c.Key, Value: c.Value, Created: uint64(c.Created), Modified: uint64(c.Modified), Version: c.Version, Deleted: c.Deleted,
		}}
	}
	if y := r.Memory; y != nil {
		stored := &MetaMemory{
			Index: uint64(y.Index), Id: y.ID, Sum: y.Sum, Succeeded: y.Succeeded, Before: uint64(y.Before), Revision: uint64(y.Revision),
		}
		for _, n := range y.Deleted {
			stored.Deleted = append(stored.Deleted, uint32(n))
		}
		m.Record = &MetaRecord_Memory{Memory: stored}
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// DecodeMetaRecord reads what EncodeMetaRecord made. The record shares nothing with
// data. Anything else is a *pinetree.CorruptError.
func DecodeMetaRecord(data []byte) (pinetree.VolumeID, meta.Record, error) {
	m := &MetaRecord{}
	if err := proto.Unmarshal(data, m); err != nil {
		return 0, meta.Record{}, &pinetree.CorruptError{Where: "stored metadata", What: err.Error()}
	}
	var r meta.Record
	switch part := m.Record.(type) {
	case *MetaRecord_Change:
		c := part.Change
		r.Change = &meta.Change{Deleted: c.Deleted, Item: meta.Item{
			Key: c.Key, Value: c.Value, Created: pinetree.MetaRevision(c.Created), Modified: pinetree.MetaRevision(c.Modified), Version: c.Version,
		}}
	case *MetaRecord_Memory:
		y := part.Memory
		r.Memory = &meta.Memory{
			Index: pinetree.RaftIndex(y.Index), ID: y.Id, Sum: y.Sum, Succeeded: y.Succeeded,
			Before: pinetree.MetaRevision(y.Before), Revision: pinetree.MetaRevision(y.Revision),
		}
		for _, n := range y.Deleted {
			r.Memory.Deleted = append(r.Memory.Deleted, int(n))
		}
	default:
		return 0, r, unread("a stored record")
	}
	return pinetree.VolumeID(m.Volume), r, nil
}
