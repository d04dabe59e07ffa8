package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
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

// servers are the cluster under load. They belong to the goroutine of Run.
type servers struct {
	managers cli.Managers
	// cluster is nil when it was there before, and dir is empty then.
	cluster *localcluster.Cluster
	dir     string
}

// startServers starts a cluster, or takes the one that is named.
func startServers(ctx context.Context, cfg Config) (*servers, error) {
	if len(cfg.Targets) > 0 {
		return &servers{managers: cli.Managers{Addresses: cfg.Targets, TLS: cfg.TLS}}, nil
	}
	dir, err := os.MkdirTemp(cfg.Dir, "pinetree-bench-")
	if err != nil {
		return nil, err
	}
	args := []string{"--engine", cfg.Engine, "--raftlog", cfg.RaftLog, "--transport", cfg.Transport}
	cluster, err := localcluster.Start(ctx, localcluster.Config{
		Dir: dir, Nodes: replicas, NodeArgs: append(args, cfg.NodeArgs...), Metrics: true, TLS: cfg.TLS,
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &servers{managers: cli.Managers{Addresses: []string{cluster.Manager.Addr}, TLS: cfg.TLS}, cluster: cluster, dir: dir}, nil
}

// close stops what was started and removes its files.
func (s *servers) close() error {
	if s.cluster == nil {
		return nil
	}
	return errors.Join(s.cluster.Close(), os.RemoveAll(s.dir))
}

// nodes are the processes that were started; none for a cluster that was there.
func (s *servers) nodes() []*localcluster.Process {
	if s.cluster == nil {
		return nil
	}
	return s.cluster.Nodes
}

// failure describes the first process that has ended.
func (s *servers) failure() error {
	if s.cluster == nil {
		return nil
	}
	return s.cluster.Failure()
}

// guardInterval is how often it is looked whether all processes are there.
const guardInterval = 200 * time.Millisecond

// guard calls fail as soon as a process has ended, until the returned function
// is called.
func (s *servers) guard(fail context.CancelCauseFunc) (end func()) {
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

// place makes the groups and volumes of a load and returns the volumes' names,
// which no earlier run has used.
func (s *servers) place(ctx context.Context, cfg Config) ([]string, error) {
	groups := make([]uint64, cfg.Groups)
	err := each(ctx, cfg.Groups, func(ctx context.Context, i int) error {
		return s.ask(ctx, "make a group", func(ctx context.Context, m wirepb.ManagerClient) error {
			g, err := m.CreateGroup(ctx, &wirepb.CreateGroupRequest{Replicas: replicas})
			groups[i] = g.GetGroup()
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	names := make([]string, cfg.Volumes)
	run := strconv.FormatInt(time.Now().UnixMilli(), 36)
	return names, each(ctx, cfg.Volumes, func(ctx context.Context, i int) error {
		names[i] = fmt.Sprintf("bench-%s-%d", run, i+1)
		return s.ask(ctx, "make volume "+names[i], func(ctx context.Context, m wirepb.ManagerClient) error {
			_, err := m.CreateVolume(ctx, &wirepb.CreateVolumeRequest{
				Name: names[i], Format: uint32(cfg.Format), Group: groups[i%len(groups)],
			})
			return err
		})
	})
}

// each calls fn for 0 to n−1, several at once.
func each(ctx context.Context, n int, fn func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(placedAtOnce)
	for i := range n {
		group.Go(func() error { return fn(ctx, i) })
	}
	return group.Wait()
}

// ask asks the manager until it does not put the answer off.
func (s *servers) ask(ctx context.Context, what string, fn func(context.Context, wirepb.ManagerClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, placeTimeout)
	defer cancel()
	for {
		err := s.managers.Call(ctx, fn)
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

// open opens a writer on each volume.
func (s *servers) open(ctx context.Context, l *load, names []string) error {
	dial, err := s.managers.TLS.Dial(slog.Default())
	if err != nil {
		return err
	}
	l.lanes = make([]*lane, len(names))
	err = each(ctx, len(names), func(ctx context.Context, i int) error {
		at := l.newLane()
		client := ship.Config{Managers: s.managers.Addresses, Volume: names[i], Dial: dial, Connections: &l.conns, Logger: slog.New(slog.DiscardHandler)}
		if err := at.open(ctx, client, l.cfg.window()); err != nil {
			return err
		}
		l.lanes[i] = at
		return nil
	})
	if err != nil {
		l.lanes = slices.DeleteFunc(l.lanes, func(l *lane) bool { return l == nil })
		return errors.Join(err, l.close())
	}
	return nil
}
