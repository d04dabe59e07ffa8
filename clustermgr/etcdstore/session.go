package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// grantTimeout bounds what a campaign begins with: a proposal that was handed to
	// a leader of etcd that hangs is never answered, and is to be made to the next one.
	grantTimeout = 2 * time.Second
	// revokeTimeout bounds the end of a session; its lease also ends by itself.
	revokeTimeout = time.Second
)

// session keeps the etcd lease of an office alive, by goroutines of its own that
// end with end.
type session struct {
	lease   clientv3.LeaseID
	heard   atomic.Int64  // when a question was asked that etcd has answered, in Unix nanoseconds
	expired chan struct{} // closed when etcd says that the lease is over
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
}

// end stops the renewals, and returns when nothing of the session runs any more.
func (ss *session) end() {
	ss.cancel()
	ss.tasks.Wait()
}

// begin makes a lease and keeps it alive until the session is ended, which may be
// long after ctx.
func (s *Store) begin(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, grantTimeout)
	defer cancel()
	grant, err := s.client.Grant(ctx, int64(s.ttl/time.Second))
	if err != nil {
		return nil, fmt.Errorf("etcd: a lease for the campaign: %w", err)
	}
	ss := &session{lease: grant.ID, expired: make(chan struct{})}
	alive, stop := context.WithCancel(s.client.Ctx())
	ss.cancel = stop
	ss.heard.Store(time.Now().UnixNano())
	ss.tasks.Go(func() { s.listen(alive, ss) })
	ss.tasks.Go(func() { s.renew(alive, ss) })
	return ss, nil
}

// finish ends a session together with its lease, which deletes its key.
func (s *Store) finish(ss *session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.client.Ctx()), revokeTimeout)
	defer cancel()
	ss.end()
	_, _ = s.client.Revoke(ctx, ss.lease) // otherwise it ends by itself
}

// renew renews the lease four times in its length, each time by calls with a
// timeout. A stream of renewals would stay with one member of etcd, and hang with
// it, or with the leader to which that one sends them on, for longer than the lease
// lasts.
//
// A lease can be renewed by a member that can do nothing else, since that takes no
// disk. So this stops when etcd has answered no read for three times its length: a
// manager that has the office and cannot act is to lose it.
func (s *Store) renew(ctx context.Context, ss *session) {
	for ctx.Err() == nil {
		began := time.Now()
		if began.Sub(time.Unix(0, ss.heard.Load())) < 3*s.ttl {
			if err := s.renewOnce(ctx, ss.lease); errors.Is(err, rpctypes.ErrLeaseNotFound) {
				close(ss.expired)
				return
			}
		}
		rest(ctx, s.ttl/4-time.Since(began))
	}
}

// renewOnce makes up to three calls, beside one another, until one is answered: the
// client takes turns among etcd's members, and the one whose turn it is may hang.
func (s *Store) renewOnce(ctx context.Context, lease clientv3.LeaseID) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.ttl/4)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	const most = 3
	answers := make(chan error, most)
	for asked, answered := 0, 0; answered < most; {
		var next <-chan time.Time
		if asked < most {
			asked++
			calls.Go(func() {
				_, err := s.client.KeepAliveOnce(ctx, lease)
				answers <- err
			})
			next = time.After(s.ttl / (4 * most))
		}
		select {
		case err = <-answers:
			if answered++; err == nil || errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return err
			}
		case <-next:
		}
	}
	return err
}

// listen asks for the offices again and again, which only a member that is up to
// date answers.
func (s *Store) listen(ctx context.Context, ss *session) {
	for ctx.Err() == nil {
		began := time.Now()
		once, cancel := context.WithTimeout(ctx, s.ttl/2)
		_, err := s.client.Get(once, s.offices, clientv3.WithCountOnly())
		cancel()
		if err == nil {
			ss.heard.Store(began.UnixNano())
		}
		rest(ctx, s.ttl/4-time.Since(began))
	}
}

// rest waits, but not for longer than ctx.
func rest(ctx context.Context, pause time.Duration) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}
