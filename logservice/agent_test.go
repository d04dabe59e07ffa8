package logservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

func TestWritesAndQuorumReadsGoOnWithoutAManager(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	w := c.open(0, &wirepb.OpenRequest{})
	b := w.batch(1, []byte("with a manager"))
	w.send(b)
	w.await(b.LSN)
	if level := c.level(0, wirepb.ReadLevel_DEFAULT); level != wirepb.ReadLevel_DEFAULT {
		t.Fatalf("with a lease a default read was answered at %s", level)
	}
	c.manager.server.Stop()
	c.eventually("the lease ends", func() error {
		if level := c.level(0, wirepb.ReadLevel_DEFAULT); level != wirepb.ReadLevel_CONSISTENT {
			return fmt.Errorf("default read answered at %s", level)
		}
		return nil
	})
	// A node that starts now finds its peers in its cache. With the third one
	// gone it is needed for every acknowledgement.
	c.members[1].stop()
	c.members[1].start(c.manager.address)
	c.members[2].stop()
	b = w.batch(1, []byte("without"))
	w.send(b)
	w.await(b.LSN)
	for _, at := range []int{0, 1} {
		if level := c.level(at, wirepb.ReadLevel_CONSISTENT); level != wirepb.ReadLevel_CONSISTENT {
			t.Errorf("a consistent read was answered at %s", level)
		}
	}
}

// level reads the volume's state and returns at which level it was answered.
func (c *cluster) level(at int, asked wirepb.ReadLevel) wirepb.ReadLevel {
	c.t.Helper()
	r, err := c.members[at].reads().State(c.ctx(), &wirepb.StateRequest{Volume: 7, Options: &wirepb.ReadOptions{Level: asked}})
	if err != nil {
		c.t.Fatal(err)
	}
	return r.Served.Level
}

func TestLeaderWithoutAGrantAcknowledgesNothing(t *testing.T) {
	longAgo := func(m *scriptedManager) { m.sequence = 1 }
	for name, script := range map[string]func(*scriptedManager){
		"no grants":                          func(m *scriptedManager) { m.grant = false },
		"grants for a heartbeat never sent":  func(m *scriptedManager) { m.sequence = 1 << 40 },
		"grants for a heartbeat of long ago": longAgo,
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, 1)
			c.eventually("the first heartbeat is long ago", func() error {
				if q := c.manager.report(1); q.Sequence <= maxUnanswered {
					c.members[0].node.agent.poke()
					return fmt.Errorf("sequence %d", q.Sequence)
				}
				return nil
			})
			c.manager.set(script)
			at := wirepb.NewNodeClient(c.members[0].conn)
			if _, err := at.CreateReplica(c.ctx(), &wirepb.CreateReplicaRequest{Group: 1, Voters: c.voters}); err != nil {
				t.Fatal(err)
			}
			c.appoint(0, 1)
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			if _, err := at.CreateVolume(ctx, &wirepb.NodeCreateVolumeRequest{Group: 1, Volume: 7, Format: 1}); err == nil {
				t.Fatal("a leader that was never granted anything acknowledged a volume")
			}
			c.manager.set(func(m *scriptedManager) { m.grant, m.sequence = true, 0 })
			c.group(0, pinetree.FormatOpaque)
		})
	}
}

func (m *scriptedManager) report(node uint64) *wirepb.HeartbeatRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reports[node]
}

func TestGrantsCountFromTheHeartbeatTheyAnswer(t *testing.T) {
	var u unanswered
	for i := range 3 * maxUnanswered {
		if got := u.next(lease.Instant(1000 + i)); got != uint64(i+1) {
			t.Fatalf("sequence %d, want %d", got, i+1)
		}
	}
	for sequence, want := range map[uint64]lease.Instant{
		0: 0, 1: 0, 2 * maxUnanswered: 0, 3*maxUnanswered + 1: 0,
		2*maxUnanswered + 1: 1000 + 2*maxUnanswered, 3 * maxUnanswered: 1000 + 3*maxUnanswered - 1,
	} {
		if got, known := u.asked(sequence); got != want || known != (want != 0) {
			t.Errorf("heartbeat %d was asked at %d, %v, want %d", sequence, got, known, want)
		}
	}
}

func TestStatusOfAStuckReplicaGrowsOld(t *testing.T) {
	r := &reporter{last: map[pinetree.GroupID]report{}}
	if s := r.aged(1, 5); s != nil {
		t.Fatalf("a status that was never known: %v", s)
	}
	r.keep(report{&wirepb.ReplicaStatus{Group: 1, Leader: true, QuorumAgeMs: 20, Lost: "why"}, lease.Instant(time.Second), nil})
	s := r.aged(1, lease.Instant(3*time.Second))
	if s == nil || !s.Leader || s.QuorumAgeMs != 2020 {
		t.Fatalf("after two seconds it is %v, want a quorum age of 2020 ms", s)
	}
	if s.Lost != "why" {
		t.Errorf("that it is lost is not said any more: %v", s)
	}
}

func TestRoleIsToldAtOnce(t *testing.T) {
	c := startCluster(t, 1)
	if _, err := wirepb.NewNodeClient(c.members[0].conn).CreateReplica(c.ctx(), &wirepb.CreateReplicaRequest{Group: 1, Voters: c.voters}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c.appoint(0, 5)
	c.eventually("the manager hears of the leader", func() error {
		for _, s := range c.manager.report(1).Replicas {
			if s.Leader && s.Ready && s.Activated && s.Appointment == 5 {
				return nil
			}
		}
		return errors.New("not yet")
	})
	// Leading, readiness and activation are three changes; at the pace of
	// heartbeats alone they take two intervals or more.
	t.Logf("activated after %v", time.Since(began))
}

// idleManager is not the active one: it sends callers to another.
type idleManager struct {
	wirepb.UnimplementedManagerServer
	active string
}

func (m *idleManager) Register(context.Context, *wirepb.RegisterRequest) (*wirepb.RegisterResponse, error) {
	return nil, &pinetree.NotLeaderError{Addr: m.active}
}

// muteManager registers nodes and never answers a heartbeat.
type muteManager struct {
	*scriptedManager
}

func (m *muteManager) Heartbeat(stream wirepb.Manager_HeartbeatServer) error {
	<-stream.Context().Done()
	return nil
}

func serveManager(t *testing.T, m wirepb.ManagerServer) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(wirepb.UnaryServerErrors), grpc.StreamInterceptor(wirepb.StreamServerErrors))
	wirepb.RegisterManagerServer(server, m)
	go func() { _ = server.Serve(l) }() // ends with Stop
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

func TestNodeFindsTheActiveManager(t *testing.T) {
	active := startManager(t)
	idle := serveManager(t, &idleManager{active: active.address})
	mute := serveManager(t, &muteManager{active})
	for name, managers := range map[string][]string{
		"sent there by another":   {idle},
		"the first is away":       {"127.0.0.1:1", active.address},
		"the first never answers": {mute, active.address},
	} {
		t.Run(name, func(t *testing.T) {
			m := &member{t: t, dir: t.TempDir(), addr: "127.0.0.1:0", log: memlog.New(), engines: memengine.New(memengine.Options{})}
			m.start(managers...)
			defer m.stop()
			c := &cluster{t: t}
			c.eventually("its heartbeats arrive", func() error {
				if active.report(uint64(m.node.Identity().Node)) == nil {
					return errors.New("none so far")
				}
				return nil
			})
		})
	}
}

func TestIdentityIsOneDirectorysForEver(t *testing.T) {
	c := startCluster(t, 1)
	m := c.members[0]
	first := m.node.Identity()
	m.stop()
	m.start(c.manager.address)
	if again := m.node.Identity(); again != first {
		t.Fatalf("after a restart %+v, before %+v", again, first)
	}
	if id, err := ReadIdentity(m.dir); err != nil || id != first {
		t.Fatalf("the file says %+v, %v", id, err)
	}

	// A directory that took this node's id without its instance is refused.
	m.stop()
	if err := writeIdentity(m.dir, Identity{Cluster: first.Cluster, Node: first.Node, Instance: "another"}); err != nil {
		t.Fatal(err)
	}
	m.start(c.manager.address)
	if err := <-m.ran; !errors.Is(err, pinetree.ErrExists) {
		t.Fatalf("a stranger under the node's id ran until %v", err)
	}
	m.ran <- nil
	m.stop()

	path := filepath.Join(m.dir, IdentityFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		damaged := append([]byte(nil), data...)
		damaged[i] ^= 0x10
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if id, err := ReadIdentity(m.dir); !errors.Is(err, pinetree.ErrCorrupt) {
			t.Fatalf("byte %d damaged: %+v, %v", i, id, err)
		}
	}
}

func TestReplicasWithoutAnIdentityAreNotANewNode(t *testing.T) {
	engines := memengine.New(memengine.Options{})
	if err := engines.Create(1, pinetree.Position{Index: 1, Term: 1}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(context.Background(), Config{Dir: t.TempDir(), Listener: l, Managers: []string{"127.0.0.1:1"}, Log: memlog.New(), Engines: engines})
	if err == nil || !strings.Contains(err.Error(), "no identity") {
		t.Fatalf("New: %v", err)
	}
}

func TestNewNodeNeedsAManager(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
	defer cancel()
	_, err = New(ctx, Config{Dir: t.TempDir(), Listener: l, Managers: []string{"127.0.0.1:1"}, Log: memlog.New(), Engines: memengine.New(memengine.Options{}), Logger: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Fatalf("New: %v, want an error that names the manager", err)
	}
}
