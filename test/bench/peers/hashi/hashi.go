// Package hashi runs one server of github.com/hashicorp/raft with raft-wal as
// its log, behind one of our fronts. Its state machine only counts.
package hashi

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/pinetree-db/pinetree/test/bench/peers/front"
	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
)

const (
	// depth is how many Applies are under way before what arrives gathers for a
	// full one, mostDeep how many full ones are.
	depth, mostDeep = 4, 64
	cacheEntries    = 1024
	applyTimeout    = 10 * time.Second
	rpcTimeout      = 10 * time.Second
	// never is more entries than a run has, so that none of it is spent on
	// snapshots.
	never = 1 << 40
)

// Server is one member of the cluster.
type Server struct {
	raft      *raft.Raft
	transport *raft.NetworkTransport
	log       *wal.WAL
	front     front.Server
	counted   counter
}

// Start starts a server. The first bootstraps the cluster; which one leads, an
// election decides.
func Start(cfg replica.Config) (replica.Replica, error) {
	s := &Server{}
	if err := s.start(cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) start(cfg replica.Config) error {
	logger := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Error})
	dir := cfg.Path("wal")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	var err error
	if s.log, err = wal.Open(dir, wal.WithLogger(logger)); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	// Without the cache, the leader reads from disk what it sends.
	cache, err := raft.NewLogCache(cacheEntries, s.log)
	if err != nil {
		return err
	}
	s.transport, err = raft.NewTCPTransportWithLogger(cfg.Peer(), nil, replica.Count, rpcTimeout, logger)
	if err != nil {
		return fmt.Errorf("listen for the peers: %w", err)
	}
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(cfg.Name())
	c.Logger = logger
	c.BatchApplyCh = true
	c.SnapshotThreshold = never
	if cfg.ID == 1 {
		var members raft.Configuration
		for i, addr := range cfg.Peers {
			members.Servers = append(members.Servers, raft.Server{
				ID: raft.ServerID(replica.NameOf(replica.ID(i + 1))), Address: raft.ServerAddress(addr),
			})
		}
		if err := raft.BootstrapCluster(c, cache, s.log, raft.NewDiscardSnapshotStore(), s.transport, members); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
	}
	s.raft, err = raft.NewRaft(c, &s.counted, cache, s.log, raft.NewDiscardSnapshotStore(), s.transport)
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	s.front, err = front.Listen(cfg.Front, cfg.Client(), front.Pipeline{Records: cfg.Batch, Depth: depth, Most: mostDeep, Start: s.apply})
	return err
}

func (s *Server) apply(b front.Batch) (func() error, error) {
	return s.raft.Apply(b.Frames, applyTimeout).Error, nil
}

// Status implements replica.Replica.
func (s *Server) Status() (replica.Status, error) {
	return replica.Status{Ready: s.raft.State() == raft.Leader, Records: s.counted.records.Load()}, nil
}

// Close implements replica.Replica.
func (s *Server) Close() error {
	var errs []error
	if s.front != nil {
		errs = append(errs, s.front.Close())
	}
	if s.raft != nil {
		errs = append(errs, s.raft.Shutdown().Error())
	}
	if s.transport != nil {
		errs = append(errs, s.transport.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	return errors.Join(errs...)
}

// counter is the state machine: the number of records.
type counter struct{ records atomic.Uint64 }

// Apply implements raft.FSM.
func (c *counter) Apply(l *raft.Log) any {
	records, _ := front.Span(l.Data, 0)
	c.records.Add(uint64(records))
	return nil
}

// ApplyBatch implements raft.BatchingFSM.
func (c *counter) ApplyBatch(logs []*raft.Log) []any {
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			c.Apply(l)
		}
	}
	return make([]any, len(logs))
}

var errNoSnapshots = errors.New("a counter has no snapshots")

// Snapshot implements raft.FSM; the threshold keeps raft from asking.
func (c *counter) Snapshot() (raft.FSMSnapshot, error) { return nil, errNoSnapshots }

// Restore implements raft.FSM.
func (c *counter) Restore(snapshot io.ReadCloser) error {
	return errors.Join(errNoSnapshots, snapshot.Close())
}
