package metaclient

import (
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

var targets = map[meta.Target]wirepb.MetaCompare_Target{
	meta.TargetValue: wirepb.MetaCompare_VALUE, meta.TargetVersion: wirepb.MetaCompare_VERSION,
	meta.TargetCreated: wirepb.MetaCompare_CREATED, meta.TargetModified: wirepb.MetaCompare_MODIFIED,
}

var relations = map[meta.Relation]wirepb.MetaCompare_Result{
	meta.Equal: wirepb.MetaCompare_EQUAL, meta.NotEqual: wirepb.MetaCompare_NOT_EQUAL,
	meta.Less: wirepb.MetaCompare_LESS, meta.Greater: wirepb.MetaCompare_GREATER,
}

// txnToWire makes the request for a transaction that is within the limits.
func txnToWire(txn meta.Txn) (*wirepb.MetaTxnRequest, error) {
	if err := txn.Check(); err != nil {
		return nil, err
	}
	q := &wirepb.MetaTxnRequest{Id: txn.ID, Since: uint64(txn.Since), Then: opsToWire(txn.Then), Otherwise: opsToWire(txn.Otherwise)}
	for _, c := range txn.Compares {
		q.Compares = append(q.Compares, &wirepb.MetaCompare{Key: c.Key, Target: targets[c.Target], Result: relations[c.Relation], Value: c.Value, Number: c.Number})
	}
	return q, nil
}

func opsToWire(ops []meta.Op) []*wirepb.MetaOp {
	var list []*wirepb.MetaOp
	for _, op := range ops {
		w := &wirepb.MetaOp{}
		switch op.Kind {
		case meta.OpPut:
			w.Op = &wirepb.MetaOp_Put{Put: &wirepb.MetaPut{Key: op.Key, Value: op.Value}}
		case meta.OpDelete:
			w.Op = &wirepb.MetaOp_Delete{Delete: &wirepb.MetaDelete{Key: op.Key, End: op.End}}
		case meta.OpGet:
			w.Op = &wirepb.MetaOp_Get{Get: &wirepb.MetaGet{Key: op.Key, End: op.End, Limit: uint32(op.Limit)}}
		default:
			panic(fmt.Sprintf("metaclient: an op of kind %d passed its check", op.Kind))
		}
		list = append(list, w)
	}
	return list
}

func resultOf(a *wirepb.MetaTxnResponse) meta.Result {
	r := meta.Result{Succeeded: a.Succeeded, Revision: pinetree.MetaRevision(a.Revision)}
	for _, w := range a.Results {
		op := meta.OpResult{Deleted: int(w.GetDeleted()), More: w.GetMore()}
		for _, item := range w.GetItems() {
			op.Items = append(op.Items, itemOf(item))
		}
		r.Ops = append(r.Ops, op)
	}
	return r
}

func itemOf(w *wirepb.MetaItem) meta.Item {
	return meta.Item{
		Key: w.GetKey(), Value: w.GetValue(), Version: w.GetVersion(),
		Created: pinetree.MetaRevision(w.GetCreated()), Modified: pinetree.MetaRevision(w.GetModified()),
	}
}
