package clustermgr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/pinetree-db/pinetree/clustermgr/accord"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/reign"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// stopTimeout bounds the wait for calls in progress when a manager stops.
const stopTimeout = 2 * time.Second

// Manager is one cluster manager process. It serves wirepb.Manager, and while
// it is the active one of its cluster it reigns.
type Manager struct {
	cfg       Config
	reign     atomic.Pointer[reign.Reign]
	relay     *relay
	receivers sync.WaitGroup // goroutines that receive heartbeats
	// agreed: its settings were those of the cluster when it looked. The campaign's own.
	agreed bool
}

// Config is what a manager needs to know.
type Config = reign.Config

// New makes a manager. It does nothing until Serve.
func New(cfg Config) (*Manager, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	return &Manager{cfg: cfg, relay: newRelay(cfg)}, nil
}

// Serve answers on the listener, which it closes, and campaigns for the office
// until ctx ends, which is no error. A manager with other settings than its cluster
// ends with an *accord.RefusedError. On return nothing of it runs any more.
func (m *Manager) Serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := grpc.NewServer(append(m.cfg.Serve[:len(m.cfg.Serve):len(m.cfg.Serve)],
		grpc.UnaryInterceptor(wirepb.UnaryServerErrors),
		grpc.StreamInterceptor(wirepb.StreamServerErrors),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 5 * time.Second, Timeout: 2 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)...)
	wirepb.RegisterManagerServer(server, &service{manager: m})
	served := make(chan error, 1)
	go func() {
		err := server.Serve(listener)
		cancel() // without a listener there is no use in the office
		served <- err
	}()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		m.relay.watch(ctx)
	}()
	refused := m.campaign(ctx)
	cancel()
	<-watched
	stop := time.AfterFunc(stopTimeout, server.Stop)
	server.GracefulStop()
	stop.Stop()
	m.receivers.Wait()
	m.relay.close()
	if err := <-served; err != nil && refused == nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("cluster manager at %s: %w", listener.Addr(), err)
	}
	return refused
}

// campaign reigns again and again until ctx ends, or the manager is refused.
func (m *Manager) campaign(ctx context.Context) error {
	for ctx.Err() == nil {
		err := m.reignOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if refused := (*accord.RefusedError)(nil); errors.As(err, &refused) {
			return refused
		}
		m.cfg.Log.Warn("not the active cluster manager; campaigning", "reason", err)
		select {
		case <-time.After(m.cfg.Retry):
		case <-ctx.Done():
		}
	}
	return nil
}

func (m *Manager) reignOnce(ctx context.Context) error {
	if err := m.agree(ctx); err != nil {
		return fmt.Errorf("before the campaign: %w", err)
	}
	office, err := m.cfg.Store.Campaign(ctx, m.cfg.Address)
	if err != nil {
		return fmt.Errorf("campaign: %w", err)
	}
	defer func() {
		// The next manager waits for the claim of this one all the same.
		resigning, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := m.cfg.Store.Resign(resigning, office); err != nil && !errors.Is(err, ledger.ErrNotActive) {
			m.cfg.Log.Warn("could not resign; the office ends by itself", "err", err)
		}
	}()
	r, err := reign.Begin(ctx, m.cfg, office)
	if err != nil {
		return fmt.Errorf("take office: %w", err)
	}
	m.reign.Store(r)
	m.relay.changed()
	defer m.reign.Store(nil)
	return r.Run()
}

// agree ends a manager with other settings before it is in anybody's way. That the
// store cannot tell is no reason to wait: who takes office looks again.
func (m *Manager) agree(ctx context.Context) error {
	if m.agreed {
		return nil
	}
	checking, cancel := context.WithTimeout(ctx, m.cfg.OfficeClaim/3)
	defer cancel()
	err := accord.Check(checking, m.cfg)
	m.agreed = err == nil
	if refused := (*accord.RefusedError)(nil); errors.As(err, &refused) {
		return err
	}
	return nil
}

// current is the reign, or an error that names the active manager.
func (m *Manager) current() (*reign.Reign, error) {
	if r := m.reign.Load(); r != nil {
		return r, nil
	}
	active, _ := m.relay.now()
	if active == m.cfg.Address { // about to take office, or not to be told
		active = ""
	}
	return nil, reign.NotActive(active)
}
