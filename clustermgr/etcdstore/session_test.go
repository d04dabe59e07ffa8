package etcdstore

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
)

// door passes connections on to a member of etcd, until it is shut: then it keeps
// them open and lets nothing through, as a member does whose process hangs.
type door struct {
	at   string
	shut atomic.Bool
}

func newDoor(t *testing.T, to string) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{at: l.Addr().String()}
	over := make(chan struct{})
	var all sync.WaitGroup
	pass := func(to, from net.Conn) {
		defer to.Close()
		for buf := make([]byte, 64<<10); ; {
			n, err := from.Read(buf)
			if d.shut.Load() {
				<-over
				return
			}
			if _, failed := to.Write(buf[:n]); err != nil || failed != nil {
				return
			}
		}
	}
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			all.Go(func() { pass(out, in) })
			all.Go(func() { pass(in, out) })
		}
	})
	t.Cleanup(func() { l.Close(); close(over); all.Wait() })
	return d
}

// usual is a store whose sessions last as long as they do outside of tests.
func usual(t *testing.T, endpoints ...string) *Store {
	t.Helper()
	return opened(t, Config{Endpoints: endpoints})
}

// shortest is a store with the shortest lease that there is.
func shortest(t *testing.T, endpoints ...string) *Store {
	t.Helper()
	return opened(t, Config{Endpoints: endpoints, SessionTTL: time.Second})
}

func opened(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestAMemberThatHangsCostsNobodyTheOffice, neither the active manager nor one that
// waits, though every other call of theirs goes to that member.
func TestAMemberThatHangsCostsNobodyTheOffice(t *testing.T) {
	t.Parallel()
	etcd := startEtcd(t).Endpoints[0]
	hangs := newDoor(t, etcd)
	s, waits := usual(t, hangs.at, etcd), usual(t, hangs.at, etcd)
	office := campaign(t, s, "m1")
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		_, err := waits.Campaign(ctx, "m2")
		ended <- err
	}()
	time.Sleep(200 * time.Millisecond) // both have their leases, over both connections
	hangs.shut.Store(true)
	select {
	case err := <-ended:
		t.Errorf("a manager that waits has ended, though nobody resigned: %v", err)
	case <-time.After(6 * time.Second):
	}
	direct := shortest(t, etcd)
	if err := direct.Confirm(t.Context(), office); err != nil {
		t.Errorf("the active manager's office: %v", err)
	}
	cancel()
	<-ended
}

// deaf is an etcd that renews leases and answers no read, as a member does whose
// disk hangs.
type deaf struct {
	clientv3.KV
	now *atomic.Bool
}

func (d deaf) Get(ctx context.Context, key string, how ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if d.now.Load() {
		<-ctx.Done()
		return nil, io.ErrUnexpectedEOF
	}
	return d.KV.Get(ctx, key, how...)
}

func TestAManagerThatReadsNothingLosesTheOffice(t *testing.T) {
	t.Parallel()
	etcd := startEtcd(t).Endpoints[0]
	s, next := shortest(t, etcd), shortest(t, etcd)
	var now atomic.Bool
	s.client.KV = deaf{s.client.KV, &now}
	office := campaign(t, s, "m1")
	time.Sleep(1500 * time.Millisecond) // longer than the lease
	if err := next.Confirm(t.Context(), office); err != nil {
		t.Fatalf("while it reads: %v", err)
	}
	now.Store(true)
	campaign(t, next, "m2")
	if err := next.Confirm(t.Context(), office); !errors.Is(err, ledger.ErrNotActive) {
		t.Errorf("the office of before: %v", err)
	}
}
