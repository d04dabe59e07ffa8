package etcdstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
)

// Config is where etcd is and how long it waits for a manager.
type Config struct {
	// Endpoints are the addresses of etcd's members, such as 10.0.0.1:2379. Calls go
	// to them in turns, also to one that hangs, until that was noticed after 12 s.
	Endpoints []string
	// Prefix is that of every key; "pinetree". Clusters that share an etcd have
	// different ones.
	Prefix string
	// Files protect the connection; those of etcd's own authority, which may differ
	// from the managers'.
	Files Files
	// User and Password are for an etcd that asks for them.
	User, Password string
	// SessionTTL is after how long without a sign of life a manager loses its
	// office; 3 s. Whole seconds, and no fewer than one and a half of etcd's election
	// timeouts, or etcd takes that. A leader of etcd that is lost as well adds its
	// election and its election timeout.
	SessionTTL time.Duration
	// Timeout bounds the wait for a connection; 2 s.
	Timeout time.Duration
}

// Store implements ledger.Store. No safety rests on etcd's lease: it only
// decides when a manager that is gone is replaced, and may be ended early when it
// surely is. What counts is that each write is a transaction that holds only while
// the key of the office is there.
type Store struct {
	client  *clientv3.Client
	data    string // prefix of the keys of the ledger
	offices string // prefix of the keys of those who campaign
	ttl     time.Duration

	mu       sync.Mutex
	sessions map[ledger.Office]*session
}

var _ ledger.Store = (*Store)(nil)

// Open makes a client. It does not wait for etcd: calls do, each as long as its
// context allows.
func Open(cfg Config) (*Store, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("etcd: no endpoint was given")
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "pinetree"
	}
	if cfg.SessionTTL == 0 {
		cfg.SessionTTL = 3 * time.Second
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	how := clientv3.Config{
		Endpoints: cfg.Endpoints, DialTimeout: cfg.Timeout, Username: cfg.User, Password: cfg.Password,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: cfg.Timeout,
		Logger: zap.NewNop(), // errors are returned, once
	}
	if err := cfg.Files.protect(&how); err != nil {
		return nil, err
	}
	client, err := clientv3.New(how)
	if err != nil {
		return nil, fmt.Errorf("etcd at %s: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	prefix := strings.TrimSuffix(cfg.Prefix, "/")
	return &Store{
		client: client, data: prefix + "/data/", offices: prefix + "/office", ttl: cfg.SessionTTL,
		sessions: map[ledger.Office]*session{},
	}, nil
}

// Campaign implements ledger.Store: the oldest key of those who campaign is the
// active manager's. It is asked for again and again, each time with a short
// timeout, because a watch on a member of etcd that hangs would be silent for long.
func (s *Store) Campaign(ctx context.Context, address string) (ledger.Office, error) {
	if err := s.buryFormer(ctx, address); err != nil {
		return ledger.Office{}, err
	}
	ss, err := s.begin(ctx) // it outlives this call, until Resign or Close
	if err != nil {
		return ledger.Office{}, err
	}
	key := fmt.Sprintf("%s/%x", s.offices, ss.lease)
	put, err := s.enter(ctx, key, address, ss)
	if err == nil {
		err = s.awaitTurn(ctx, candidate{key: key, address: address, expired: ss.expired})
	}
	if err != nil {
		s.finish(ss)
		return ledger.Office{}, fmt.Errorf("etcd: campaign: %w", err)
	}
	office := ledger.Office{Name: key, Revision: put.Header.Revision}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[office] = ss
	return office, nil
}

// enter writes the key of a candidate, which its lease takes along.
func (s *Store) enter(ctx context.Context, key, address string, ss *session) (*clientv3.PutResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, grantTimeout)
	defer cancel()
	return s.client.Put(ctx, key, address, clientv3.WithLease(ss.lease))
}

// Confirm implements ledger.Store. Reads are linearizable, so the key was there
// at some instant during the call.
func (s *Store) Confirm(ctx context.Context, office ledger.Office) error {
	got, err := s.client.Get(ctx, office.Name)
	switch {
	case err != nil:
		return fmt.Errorf("etcd: %w", err)
	case !holds(got, office):
		return ledger.ErrNotActive
	}
	return nil
}

// holds tells whether the key of an office was read and still is the same.
func holds(got *clientv3.GetResponse, office ledger.Office) bool {
	return len(got.Kvs) == 1 && got.Kvs[0].CreateRevision == office.Revision
}

// Resign implements ledger.Store.
func (s *Store) Resign(ctx context.Context, office ledger.Office) error {
	s.mu.Lock()
	ss, mine := s.sessions[office]
	delete(s.sessions, office)
	s.mu.Unlock()
	if !mine {
		return ledger.ErrNotActive
	}
	ss.end()
	if _, err := s.client.Revoke(ctx, ss.lease); err != nil {
		return fmt.Errorf("etcd: resign: %w", err)
	}
	return nil
}

// Watch implements ledger.Store.
func (s *Store) Watch(ctx context.Context, tell func(address string)) error {
	for {
		got, err := s.first(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("etcd: %w", err)
		case len(got.Kvs) == 0:
			tell("")
		default:
			tell(string(got.Kvs[0].Value))
		}
		err = s.awaitChange(ctx, got.Header.Revision+1)
		if err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("etcd: the watch of the office has ended: %w", err)
		}
	}
}

// awaitChange returns when the offices have changed at the revision or after, or
// when it is time to look all the same: a member of etcd that hangs says nothing.
func (s *Store) awaitChange(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, lookAgain)
	defer cancel() // ends the watch at the client
	change, more := <-s.client.Watch(clientv3.WithRequireLeader(ctx), s.offices+"/", clientv3.WithPrefix(), clientv3.WithRev(revision))
	if !more {
		return cmp.Or(ctx.Err(), errors.New("the client is closed"))
	}
	return cmp.Or(change.Err(), ctx.Err())
}

// Read implements ledger.Store.
func (s *Store) Read(ctx context.Context, prefix string) ([]ledger.Entry, error) {
	got, err := s.client.Get(ctx, s.data+prefix, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend))
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	entries := make([]ledger.Entry, len(got.Kvs))
	for i, kv := range got.Kvs {
		entries[i] = ledger.Entry{Key: strings.TrimPrefix(string(kv.Key), s.data), Value: kv.Value, Revision: kv.ModRevision}
	}
	return entries, nil
}

// Swap implements ledger.Store by one transaction.
func (s *Store) Swap(ctx context.Context, office ledger.Office, changes []ledger.Change) (int64, error) {
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(office.Name), "=", office.Revision)}
	var writes []clientv3.Op
	for _, c := range changes {
		key := s.data + c.Key
		if c.Expect != ledger.AnyRevision {
			conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(key), "=", c.Expect))
		}
		if c.Value == nil {
			writes = append(writes, clientv3.OpDelete(key))
		} else {
			writes = append(writes, clientv3.OpPut(key, string(c.Value)))
		}
	}
	done, err := s.client.Txn(ctx).If(conditions...).Then(writes...).Else(clientv3.OpGet(office.Name)).Commit()
	if err != nil {
		return 0, fmt.Errorf("etcd: %w", err)
	}
	if done.Succeeded {
		return done.Header.Revision, nil
	}
	seat := (*clientv3.GetResponse)(done.Responses[0].GetResponseRange())
	if !holds(seat, office) {
		return 0, ledger.ErrNotActive
	}
	return 0, ledger.ErrConflict
}

// Close implements ledger.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	sessions := s.sessions
	s.sessions = map[ledger.Office]*session{}
	s.mu.Unlock()
	for _, ss := range sessions {
		s.finish(ss)
	}
	return s.client.Close()
}
