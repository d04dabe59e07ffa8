package clustermgr

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// stopTimeout bounds the wait for calls in progress when a manager stops.
const stopTimeout = 2 * time.Second

// Manager is one cluster manager process. It serves wirepb.Manager, and while
// it is the active one of its cluster it reigns.
type Manager struct {
	cfg       Config
	reign     atomic.Pointer[reign]
	receivers sync.WaitGroup // goroutines that receive heartbeats
}

// New makes a manager. It does nothing until Serve.
func New(cfg Config) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Manager{cfg: cfg}, nil
}

// Serve answers on the listener, which it closes, and campaigns for the office
// until ctx ends, which is no error. On return nothing of it runs any more.
func (m *Manager) Serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := grpc.NewServer(
		grpc.UnaryInterceptor(wirepb.UnaryServerErrors),
		grpc.StreamInterceptor(wirepb.StreamServerErrors),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 5 * time.Second, Timeout: 2 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)
	wirepb.RegisterManagerServer(server, &service{manager: m})
	served := make(chan error, 1)
	go func() {
		err := server.Serve(listener)
		cancel() // without a listener there is no use in the office
		served <- err
	}()
	m.campaign(ctx)
	stop := time.AfterFunc(stopTimeout, server.Stop)
	server.GracefulStop()
	stop.Stop()
	m.receivers.Wait()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("cluster manager at %s: %w", listener.Addr(), err)
	}
	return nil
}

// campaign reigns again and again until ctx ends.
func (m *Manager) campaign(ctx context.Context) {
	for ctx.Err() == nil {
		err := m.reignOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		m.cfg.Log.Warn("not the active cluster manager; campaigning", "reason", err)
		select {
		case <-time.After(m.cfg.Retry):
		case <-ctx.Done():
		}
	}
}

func (m *Manager) reignOnce(ctx context.Context) error {
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
	r, err := m.takeOffice(ctx, office)
	if err != nil {
		return fmt.Errorf("take office: %w", err)
	}
	m.reign.Store(r)
	defer m.reign.Store(nil)
	return r.run()
}

// takeOffice reads everything and begins a reign.
func (m *Manager) takeOffice(ctx context.Context, office ledger.Office) (*reign, error) {
	cfg := m.cfg
	taken := cfg.Clock()
	reading, cancel := context.WithTimeout(ctx, 10*cfg.OfficeClaim)
	defer cancel()
	entries, err := cfg.Store.Read(reading, "")
	if err != nil {
		return nil, err
	}
	b, err := ledger.Open(entries)
	if err != nil {
		return nil, err
	}
	if b.Cluster.Is.ID == "" {
		b.Cluster.Is.ID = rand.Text()
		b.Cluster.Revision, err = cfg.Store.Swap(reading, office, []ledger.Change{b.Cluster.Put(ledger.ClusterKey, b.Cluster.Is)})
		if err != nil {
			return nil, err
		}
	}
	r := &reign{
		cfg: cfg, office: office, log: cfg.Log,
		dial:  orders.New(orders.Timeouts{Probe: cfg.Probe, Call: cfg.Call, Appoint: cfg.Appoint}),
		inbox: make(chan func(), 256), ended: make(chan struct{}),
		since:   taken.Add(scale(cfg.OfficeClaim, 1+cfg.Lease.MaxDrift)),
		cluster: b.Cluster, counters: b.Counters, events: ledger.NewEvents(b.Events, cfg.MaxEvents),
		nodes: map[pinetree.NodeID]*node{}, groups: map[pinetree.GroupID]*group{},
		volumes: map[pinetree.VolumeID]*ledger.Kept[ledger.Volume]{}, names: map[string]pinetree.VolumeID{},
		addresses: 1, changed: make(chan struct{}),
	}
	r.scribe = ledger.Scribe{Store: cfg.Store, Office: office, Owner: r.do, Events: &r.events, Timeout: cfg.OfficeClaim, Log: cfg.Log}
	r.scribe.Start()
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	for _, k := range b.Nodes {
		n := &node{Kept: k}
		n.vitals.Hear(taken)
		r.nodes[k.Is.ID] = n
	}
	for _, k := range b.Groups {
		r.addGroup(k)
	}
	for _, k := range b.Volumes {
		r.addVolume(k)
	}
	r.event(ledger.Event{Kind: "manager_active", Cause: "elected as " + office.Name, Outcome: fmt.Sprintf(
		"at %s for cluster %s with %d nodes, %d groups, %d volumes", cfg.Address, r.cluster.Is.ID, len(r.nodes), len(r.groups), len(r.volumes))})
	return r, nil
}

// current is the reign, or an error that names the active manager.
func (m *Manager) current(ctx context.Context) (*reign, error) {
	if r := m.reign.Load(); r != nil {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Call)
	defer cancel()
	active, err := m.cfg.Store.Active(ctx)
	if err != nil || active == m.cfg.Address { // about to take office, or not to be told
		active = ""
	}
	return nil, notActive(active)
}
