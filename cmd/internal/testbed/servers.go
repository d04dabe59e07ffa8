// Package testbed is what a load is put on and measured with: a cluster that is
// started for it or taken as it runs, groups and volumes of its own, how long
// things took, and what processes have used up. It knows no load.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/localcluster"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// placeTimeout bounds the making of one group or volume, retryInterval
	// paces the attempts while the manager is not ready for it.
	placeTimeout, retryInterval = 30 * time.Second, 50 * time.Millisecond
	// placedAtOnce bounds the groups and volumes that are made at once.
	placedAtOnce = 8
)

// Replicas is how many replicas each group has, and how many nodes are started.
const Replicas = 3

// Config says which cluster is loaded.
type Config struct {
	// Targets are the managers of a cluster that runs already. Empty, a
	// cluster is started below Dir and removed at the end; the fields that
	// follow are for it.
	Targets                    []string
	TLS                        cli.TLS // also of a cluster that is started
	Dir                        string
	Engine, RaftLog, Transport string
	// NodeArgs are added to each node's command line.
	NodeArgs []string
}

// Servers are the cluster under load. They belong to one goroutine.
type Servers struct {
	Managers cli.Managers
	// Cluster is nil when it was there before, and Dir is empty then.
	Cluster *localcluster.Cluster
	Dir     string
}

// Start starts a cluster, or takes the one that is named.
func Start(ctx context.Context, cfg Config) (*Servers, error) {
	if len(cfg.Targets) > 0 {
		return &Servers{Managers: cli.Managers{Addresses: cfg.Targets, TLS: cfg.TLS}}, nil
	}
	dir, err := os.MkdirTemp(cfg.Dir, "pinetree-bench-")
	if err != nil {
		return nil, err
	}
	args := []string{"--engine", cfg.Engine, "--raftlog", cfg.RaftLog, "--transport", cfg.Transport}
	cluster, err := localcluster.Start(ctx, localcluster.Config{
		Dir: dir, Nodes: Replicas, NodeArgs: append(args, cfg.NodeArgs...), Metrics: true, TLS: cfg.TLS,
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Servers{Managers: cli.Managers{Addresses: []string{cluster.Manager.Addr}, TLS: cfg.TLS}, Cluster: cluster, Dir: dir}, nil
}

// Close stops what was started and removes its files.
func (s *Servers) Close() error {
	if s.Cluster == nil {
		return nil
	}
	return errors.Join(s.Cluster.Close(), os.RemoveAll(s.Dir))
}

// Nodes are the processes that were started; none for a cluster that was there.
func (s *Servers) Nodes() []*localcluster.Process {
	if s.Cluster == nil {
		return nil
	}
	return s.Cluster.Nodes
}

// failure describes the first process that has ended.
func (s *Servers) failure() error {
	if s.Cluster == nil {
		return nil
	}
	return s.Cluster.Failure()
}

// guardInterval is how often it is looked whether all processes are there.
const guardInterval = 200 * time.Millisecond

// Guard calls fail as soon as a process has ended, until the returned function
// is called.
func (s *Servers) Guard(fail context.CancelCauseFunc) (end func()) {
	ended := make(chan struct{})
	var guarding sync.WaitGroup
	guarding.Go(func() {
		tick := time.NewTicker(guardInterval)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			if err := s.failure(); err != nil {
				fail(err)
				return
			}
		}
	})
	return func() { close(ended); guarding.Wait() }
}

// Layout is where a load goes: Volumes are spread over Groups by turns.
type Layout struct {
	Groups, Volumes int
	Format          pinetree.Format
}

// Place makes the groups and volumes of a load and returns the volumes' names,
// which no earlier run has used.
func (s *Servers) Place(ctx context.Context, cfg Layout) ([]string, error) {
	groups := make([]uint64, cfg.Groups)
	err := Each(ctx, cfg.Groups, func(ctx context.Context, i int) error {
		return s.Ask(ctx, "make a group", func(ctx context.Context, m wirepb.ManagerClient) error {
			g, err := m.CreateGroup(ctx, &wirepb.CreateGroupRequest{Replicas: Replicas})
			groups[i] = g.GetGroup()
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	names := make([]string, cfg.Volumes)
	run := strconv.FormatInt(time.Now().UnixMilli(), 36)
	return names, Each(ctx, cfg.Volumes, func(ctx context.Context, i int) error {
		names[i] = fmt.Sprintf("bench-%s-%d", run, i+1)
		return s.Ask(ctx, "make volume "+names[i], func(ctx context.Context, m wirepb.ManagerClient) error {
			_, err := m.CreateVolume(ctx, &wirepb.CreateVolumeRequest{
				Name: names[i], Format: uint32(cfg.Format), Group: groups[i%len(groups)],
			})
			return err
		})
	})
}

// Each calls fn for 0 to n−1, several at once.
func Each(ctx context.Context, n int, fn func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(placedAtOnce)
	for i := range n {
		group.Go(func() error { return fn(ctx, i) })
	}
	return group.Wait()
}

// Ask asks the manager until it does not put the answer off.
func (s *Servers) Ask(ctx context.Context, what string, fn func(context.Context, wirepb.ManagerClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, placeTimeout)
	defer cancel()
	for {
		err := s.Managers.Call(ctx, fn)
		if err == nil || errors.Is(err, pinetree.ErrBadBatch) || errors.Is(err, pinetree.ErrExists) {
			return err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return fmt.Errorf("%s: not in time: %w", what, err)
		}
	}
}
