// Package dragon runs one server of dragonboat with tan as its log, behind one
// of our fronts. Its state machine only counts.
package dragon

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/pinetree-db/pinetree/test/bench/peers/front"
	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
)

const (
	shard = 1
	// depth is how many proposals are under way before what arrives gathers for
	// a full one, mostDeep how many full ones are. With one record each, all
	// are full; their number is half of what dragonboat queues at most.
	depth, mostDeep, mostDeepSingle = 4, 64, 1024
	proposeTimeout                  = 10 * time.Second
)

// Server is one member of the cluster.
type Server struct {
	host    *dragonboat.NodeHost
	session *client.Session
	front   front.Server
	self    uint64
	records atomic.Uint64
}

// Start starts a server; which one leads, an election decides.
func Start(cfg replica.Config) (replica.Replica, error) {
	s := &Server{self: uint64(cfg.ID)}
	if err := s.start(cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) start(cfg replica.Config) error {
	for _, name := range []string{"dragonboat", "raft", "rsm", "transport", "grpc", "logdb", "tan", "config", "settings", "registry"} {
		logger.GetLogger(name).SetLevel(logger.ERROR)
	}
	var err error
	s.host, err = dragonboat.NewNodeHost(config.NodeHostConfig{
		NodeHostDir:    cfg.Dir,
		RaftAddress:    cfg.Peer(),
		RTTMillisecond: 20,
		Expert:         config.ExpertConfig{LogDBFactory: tan.Factory, LogDB: config.GetDefaultLogDBConfig(), Engine: config.GetDefaultEngineConfig()},
	})
	if err != nil {
		return fmt.Errorf("start the node host: %w", err)
	}
	members := map[uint64]dragonboat.Target{}
	for i, addr := range cfg.Peers {
		members[uint64(i+1)] = addr
	}
	err = s.host.StartReplica(members, false, func(uint64, uint64) statemachine.IStateMachine { return (*counter)(s) },
		config.Config{ReplicaID: s.self, ShardID: shard, ElectionRTT: 20, HeartbeatRTT: 2, CheckQuorum: true})
	if err != nil {
		return fmt.Errorf("start the replica: %w", err)
	}
	s.session = s.host.GetNoOPSession(shard)
	p := front.Pipeline{Records: cfg.Batch, Depth: depth, Most: mostDeep, Start: s.propose}
	if cfg.Batch == 1 {
		p.Most = mostDeepSingle
	}
	s.front, err = front.Listen(cfg.Front, cfg.Client(), p)
	return err
}

func (s *Server) propose(b front.Batch) (func() error, error) {
	request, err := s.host.Propose(s.session, b.Frames, proposeTimeout)
	if err != nil {
		return nil, err
	}
	b.Release() // dragonboat has made a copy
	return func() error {
		result := <-request.ResultC() // it has a deadline of its own
		defer request.Release()
		if !result.Completed() {
			return fmt.Errorf("dragonboat did not complete a proposal: timeout %t, dropped %t, terminated %t",
				result.Timeout(), result.Dropped(), result.Terminated())
		}
		return nil
	}, nil
}

// Status implements replica.Replica.
func (s *Server) Status() (replica.Status, error) {
	leader, _, known, err := s.host.GetLeaderID(shard)
	return replica.Status{Ready: known && leader == s.self, Records: s.records.Load()}, err
}

// Close implements replica.Replica.
func (s *Server) Close() error {
	var err error
	if s.front != nil {
		err = s.front.Close()
	}
	if s.host != nil {
		s.host.Close()
	}
	return err
}

// counter is the state machine of a Server: its number of records.
type counter Server

// Update implements statemachine.IStateMachine.
func (c *counter) Update(e statemachine.Entry) (statemachine.Result, error) {
	records, _ := front.Span(e.Cmd, 0)
	return statemachine.Result{Value: c.records.Add(uint64(records))}, nil
}

// Lookup implements statemachine.IStateMachine.
func (c *counter) Lookup(any) (any, error) { return c.records.Load(), nil }

var errNoSnapshots = errors.New("a counter has no snapshots")

// SaveSnapshot implements statemachine.IStateMachine; nobody asks for it.
func (c *counter) SaveSnapshot(io.Writer, statemachine.ISnapshotFileCollection, <-chan struct{}) error {
	return errNoSnapshots
}

// RecoverFromSnapshot implements statemachine.IStateMachine.
func (c *counter) RecoverFromSnapshot(io.Reader, []statemachine.SnapshotFile, <-chan struct{}) error {
	return errNoSnapshots
}

// Close implements statemachine.IStateMachine.
func (c *counter) Close() error { return nil }
