package metaserver

import (
	"math"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

var targets = map[wirepb.MetaCompare_Target]meta.Target{
	wirepb.MetaCompare_VALUE: meta.TargetValue, wirepb.MetaCompare_VERSION: meta.TargetVersion,
	wirepb.MetaCompare_CREATED: meta.TargetCreated, wirepb.MetaCompare_MODIFIED: meta.TargetModified,
}

var relations = map[wirepb.MetaCompare_Result]meta.Relation{
	wirepb.MetaCompare_EQUAL: meta.Equal, wirepb.MetaCompare_NOT_EQUAL: meta.NotEqual,
	wirepb.MetaCompare_LESS: meta.Less, wirepb.MetaCompare_GREATER: meta.Greater,
}

// txnOf reads a transaction and checks it against the limits, so that what is
// beyond them does not go through the log to be refused.
func txnOf(q *wirepb.MetaTxnRequest) (meta.Txn, error) {
	txn := meta.Txn{ID: q.Id, Since: pinetree.MetaRevision(q.Since)}
	for n, c := range q.Compares {
		target, known := targets[c.GetTarget()]
		relation, meant := relations[c.GetResult()]
		if !known || !meant {
			return txn, badRequest("compare %d has the target %d and the result %d; this node knows 0 to 3 of each", n, c.GetTarget(), c.GetResult())
		}
		txn.Compares = append(txn.Compares, meta.Compare{Key: c.GetKey(), Target: target, Relation: relation, Value: c.GetValue(), Number: c.GetNumber()})
	}
	var err error
	if txn.Then, err = opsOf(q.Then); err != nil {
		return txn, err
	}
	if txn.Otherwise, err = opsOf(q.Otherwise); err != nil {
		return txn, err
	}
	return txn, txn.Check()
}

func opsOf(wire []*wirepb.MetaOp) ([]meta.Op, error) {
	var ops []meta.Op
	for n, w := range wire {
		var op meta.Op
		switch o := w.GetOp().(type) {
		case *wirepb.MetaOp_Put:
			op = meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: o.Put.GetKey()}, Value: o.Put.GetValue()}
		case *wirepb.MetaOp_Delete:
			op = meta.Op{Kind: meta.OpDelete, Span: meta.Span{Key: o.Delete.GetKey(), End: o.Delete.GetEnd()}}
		case *wirepb.MetaOp_Get:
			op = meta.Op{Kind: meta.OpGet, Span: meta.Span{Key: o.Get.GetKey(), End: o.Get.GetEnd()}, Limit: int(min(o.Get.GetLimit(), math.MaxInt32))}
		default:
			return nil, badRequest("op %d is empty, or of a kind that this node does not know; there are put, delete and get", n)
		}
		ops = append(ops, op)
	}
	return ops, nil
}

func itemToWire(i meta.Item) *wirepb.MetaItem {
	return &wirepb.MetaItem{Key: i.Key, Value: i.Value, Created: uint64(i.Created), Modified: uint64(i.Modified), Version: i.Version}
}

func itemsToWire(items []meta.Item) []*wirepb.MetaItem {
	list := make([]*wirepb.MetaItem, len(items))
	for n, i := range items {
		list[n] = itemToWire(i)
	}
	return list
}
