package etcdpeer

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

// fillBatch is how many values are written by one transaction.
const fillBatch = 64

// reader reads by etcd's own client, linearizably: that is what its Get does when
// it is told nothing else.
type reader struct{ client *clientv3.Client }

// DialReader reaches the member that leads.
func DialReader(leader string) (load.Reader, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"http://" + leader}, DialTimeout: dialTimeout, Logger: zap.NewNop(),
		MaxCallSendMsgSize: requestBytes,
	})
	if err != nil {
		return nil, err
	}
	return reader{client}, nil
}

func keyOf(number int) string { return fmt.Sprintf("%s%016x", keyPrefix, number) }

// Fill implements load.Reader.
func (r reader) Fill(ctx context.Context, values [][]byte) error {
	for first := 0; first < len(values); first += fillBatch {
		var ops []clientv3.Op
		for i, value := range values[first:min(first+fillBatch, len(values))] {
			ops = append(ops, clientv3.OpPut(keyOf(first+i), string(value)))
		}
		if _, err := r.client.Txn(ctx).Then(ops...).Commit(); err != nil {
			return err
		}
	}
	return nil
}

// Read implements load.Reader.
func (r reader) Read(ctx context.Context, number int) ([]byte, error) {
	answer, err := r.client.Get(ctx, keyOf(number))
	if err != nil {
		return nil, err
	}
	if len(answer.Kvs) != 1 {
		return nil, fmt.Errorf("there are %d values of key %s", len(answer.Kvs), keyOf(number))
	}
	return answer.Kvs[0].Value, nil
}

// Close implements load.Reader.
func (r reader) Close() error { return r.client.Close() }
