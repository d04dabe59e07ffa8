package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// probeEvery is how often a candidate sees whether the active manager's
	// address is listened on, and how long it waits for that.
	probeEvery = 200 * time.Millisecond
	// refusals in a row mean that its process is gone.
	refusals = 3
	// buryTimeout bounds one try. The active manager often has etcd's leader in
	// its process, and what is handed to a leader that is gone is never answered.
	buryTimeout = 400 * time.Millisecond
)

// buryFormer ends the offices of an earlier process at this one's address, which
// did not resign: it is gone, for this one has the address now. Whoever wins the
// office still waits for what that process may have granted.
func (s *Store) buryFormer(ctx context.Context, address string) error {
	got, err := s.client.Get(ctx, s.offices+"/", clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	for _, kv := range got.Kvs {
		if string(kv.Value) == address && !s.mine(kv) {
			_ = s.bury(ctx, kv) // otherwise it ends by itself, a few seconds later
		}
	}
	return nil
}

func (s *Store) mine(kv *mvccpb.KeyValue) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ss := range s.sessions {
		if int64(ss.etcd.Lease()) == kv.Lease {
			return true
		}
	}
	return false
}

// bury ends an office with its lease.
func (s *Store) bury(ctx context.Context, kv *mvccpb.KeyValue) error {
	ctx, cancel := context.WithTimeout(ctx, buryTimeout)
	defer cancel()
	if _, err := s.client.Revoke(ctx, clientv3.LeaseID(kv.Lease)); err != nil {
		return fmt.Errorf("etcd: end the office of the manager at %s, which is gone: %w", kv.Value, err)
	}
	return nil
}

// buryDead ends the office of an active manager whose address refuses
// connections, once, for a candidate at an address of its own that waits until
// ctx ends. A silent one, whose machine or network may be at fault, keeps the
// office until etcd's lease is over: between two that cannot reach each other it
// would go to and fro.
func (s *Store) buryDead(ctx context.Context, address string) {
	pace := time.NewTicker(probeEvery)
	defer pace.Stop()
	for refused := 0; ; {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
		got, err := s.client.Get(ctx, s.offices+"/", append(clientv3.WithFirstCreate(), clientv3.WithSerializable())...)
		if err != nil || len(got.Kvs) == 0 || string(got.Kvs[0].Value) == address || !refuses(ctx, string(got.Kvs[0].Value)) {
			refused = 0
			continue
		}
		if refused++; refused >= refusals && s.bury(ctx, got.Kvs[0]) == nil {
			return
		}
	}
}

// refuses tells that nobody listens on an address, though its machine answers.
func refuses(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close() // nothing was sent
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
