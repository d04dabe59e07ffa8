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
	// lookTimeout bounds one look at who is first, after which another member of
	// etcd is asked, and lookAgain is how long a watch is trusted.
	lookTimeout = 500 * time.Millisecond
	lookAgain   = time.Second
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
		if int64(ss.lease) == kv.Lease {
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

// candidate is a key among those who campaign.
type candidate struct {
	key, address string
	expired      <-chan struct{} // closed when its session is over
}

// first is the oldest key of those who campaign.
func (s *Store) first(ctx context.Context) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return s.client.Get(ctx, s.offices+"/", clientv3.WithFirstCreate()...)
}

// awaitTurn returns when the candidate is first. Meanwhile it ends the office of an
// active manager whose address refuses connections, once. A silent one, whose
// machine or network may be at fault, keeps the office until etcd's lease is over:
// between two that cannot reach each other it would go to and fro.
func (s *Store) awaitTurn(ctx context.Context, c candidate) error {
	pace := time.NewTicker(probeEvery)
	defer pace.Stop()
	refused, buried := 0, false
	for {
		got, err := s.first(ctx)
		if err == nil && len(got.Kvs) == 0 {
			return errors.New("the candidate's own key is gone")
		}
		if err == nil {
			active := got.Kvs[0]
			switch {
			case string(active.Key) == c.key:
				return nil
			case buried || !refuses(ctx, string(active.Value)):
				refused = 0
			default:
				if refused++; refused >= refusals {
					buried = s.bury(ctx, active) == nil
				}
			}
		}
		select {
		case <-pace.C:
		case <-c.expired:
			return errors.New("the session has expired")
		case <-ctx.Done():
			return ctx.Err()
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
