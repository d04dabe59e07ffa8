package etcdpeer

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

const (
	dialTimeout = 10 * time.Second
	// depth is how many transactions are under way before puts gather for a
	// full one, mostDeep how many full ones are, and mostDeepSingle how many
	// single puts.
	depth, mostDeep, mostDeepSingle = 4, 32, 256
	txnBytes                        = 2 << 20
)

// Batch is how many puts a transaction has at most.
type Batch int

// Dial reaches the member that leads. With batches of one, records are plain
// puts.
func Dial(leader string, batch Batch, sink load.Sink) (load.Client, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"http://" + leader}, DialTimeout: dialTimeout, Logger: zap.NewNop(),
		MaxCallSendMsgSize: requestBytes,
	})
	if err != nil {
		return nil, err
	}
	var next atomic.Uint64
	put := func(r *load.Record) clientv3.Op {
		return clientv3.OpPut(fmt.Sprintf("%s%016x", keyPrefix, next.Add(1)), string(r.Payload))
	}
	cfg := load.PoolConfig{Records: int(batch), Bytes: txnBytes, Depth: depth, Most: mostDeep, Close: client.Close}
	cfg.Commit = func(ctx context.Context, records []*load.Record) error {
		ops := make([]clientv3.Op, len(records))
		for i, r := range records {
			ops[i] = put(r)
		}
		_, err := client.Txn(ctx).Then(ops...).Commit()
		return err
	}
	if batch == 1 {
		cfg.Most = mostDeepSingle
		cfg.Commit = func(ctx context.Context, records []*load.Record) error {
			_, err := client.Do(ctx, put(records[0]))
			return err
		}
	}
	return load.NewPool(sink, cfg), nil
}
