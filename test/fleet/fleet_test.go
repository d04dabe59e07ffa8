package fleet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/etcdstore"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// heartbeat is how often nodes report; the manager's default.
const heartbeat = 150 * time.Millisecond

// size is how large the fleet is.
type size struct {
	nodes, groups int
	led           int // groups that the node leads that will die
	watch         time.Duration
}

// fleet is the nodes, the manager's process and the etcd that it uses.
type fleet struct {
	t       *testing.T
	size    size
	nodes   []*node
	manager *exec.Cmd
	address string
	log     bytes.Buffer

	mu      sync.Mutex
	leaders map[uint64]pinetree.NodeID // activated
	changed chan struct{}
}

// activated takes note of the leader of a group that may acknowledge now.
func (f *fleet) activated(group uint64, id pinetree.NodeID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaders[group] = id
	close(f.changed)
	f.changed = make(chan struct{})
}

// await waits until so many groups have an activated leader for whom ok holds.
func (f *fleet) await(count int, within time.Duration, ok func(group uint64, leader pinetree.NodeID) bool) time.Duration {
	f.t.Helper()
	began := time.Now()
	late := time.After(within)
	for {
		f.mu.Lock()
		found := 0
		for group, leader := range f.leaders {
			if ok(group, leader) {
				found++
			}
		}
		changed := f.changed
		f.mu.Unlock()
		if found >= count {
			return time.Since(began)
		}
		select {
		case <-changed:
		case <-late:
			f.t.Fatalf("%d of %d groups have a leader after %v\n%s", found, count, within, f.tail())
		}
	}
}

func (f *fleet) tail() string {
	text := f.log.String()
	return text[max(0, len(text)-4000):]
}

// cpu is the processor time that the manager's process has used.
func (f *fleet) cpu() time.Duration {
	f.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", f.manager.Process.Pid))
	if err != nil {
		f.t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] { // user and system time
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			f.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // the kernel's clock tick
}

// start brings up etcd, what is recorded, the manager and the nodes.
func start(t *testing.T, s size) *fleet {
	t.Helper()
	f := &fleet{t: t, size: s, leaders: map[uint64]pinetree.NodeID{}, changed: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	etcd, err := etcdstore.StartEmbedded(ctx, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	for i := range s.nodes {
		n := &node{
			fleet: f, id: pinetree.NodeID(i + 1), instance: fmt.Sprintf("instance-%d", i), replicas: map[uint64]*replica{},
			changed: map[uint64]bool{}, poke: make(chan struct{}, 1),
		}
		if err := n.listen(); err != nil {
			t.Fatal(err)
		}
		f.nodes = append(f.nodes, n)
		t.Cleanup(n.kill)
	}
	f.record(ctx, etcd.Endpoints)
	f.run(etcd.Endpoints)
	for _, n := range f.nodes {
		n.live(t.Context(), f.address)
	}
	return f
}

// record writes the nodes and groups as a manager would have. The first groups
// have a replica with the newest log on the first node, so it leads them.
func (f *fleet) record(ctx context.Context, endpoints []string) {
	f.t.Helper()
	store, err := etcdstore.Open(etcdstore.Config{Endpoints: endpoints})
	if err != nil {
		f.t.Fatal(err)
	}
	defer store.Close()
	office, err := store.Campaign(ctx, "the test")
	if err != nil {
		f.t.Fatal(err)
	}
	changes := []ledger.Change{
		ledger.Kept[ledger.Cluster]{}.Put(ledger.ClusterKey, ledger.Cluster{ID: "fleet"}),
		ledger.Kept[ledger.Counters]{}.Put(ledger.CountersKey, ledger.Counters{Node: pinetree.NodeID(f.size.nodes), Group: pinetree.GroupID(f.size.groups)}),
	}
	for _, n := range f.nodes {
		is := ledger.Node{ID: n.id, Instance: n.instance, Address: n.address, Zone: fmt.Sprintf("zone-%d", n.id%3)}
		changes = append(changes, ledger.Kept[ledger.Node]{}.Put(is.Key(), is))
	}
	for i := range f.size.groups {
		is := ledger.Group{ID: pinetree.GroupID(i + 1), Created: true}
		shared := &raft{}
		for place := range 3 {
			n := f.nodes[1+(3*i+place)%(f.size.nodes-1)]
			if i < f.size.led && place == 0 {
				n = f.nodes[0]
			}
			is.Voters = append(is.Voters, n.id)
		}
		for _, id := range is.Voters {
			r := &replica{group: uint64(is.ID), raft: shared, index: 100}
			if id == 1 {
				r.index = 200
			}
			for _, v := range is.Voters {
				r.voters = append(r.voters, uint64(v))
			}
			f.nodes[id-1].replicas[r.group] = r
		}
		changes = append(changes, ledger.Kept[ledger.Group]{}.Put(is.Key(), is))
	}
	for len(changes) > 0 {
		some := min(len(changes), 100)
		if _, err := store.Swap(ctx, office, changes[:some]); err != nil {
			f.t.Fatal(err)
		}
		changes = changes[some:]
	}
	if err := store.Resign(ctx, office); err != nil {
		f.t.Fatal(err)
	}
}

// run starts the manager and waits until it is the active one.
func (f *fleet) run(endpoints []string) {
	f.t.Helper()
	reserved, listening := net0(f.t)
	f.address = reserved
	listening()
	f.manager = exec.Command(binary, "manager", "--listen", f.address, "--etcd", strings.Join(endpoints, ","))
	f.manager.Stdout, f.manager.Stderr = io.Discard, &f.log
	f.manager.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := f.manager.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = f.manager.Process.Signal(syscall.SIGTERM)
		_ = f.manager.Wait()
	})
	conn, err := grpc.NewClient("passthrough:///"+f.address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(f.t.Context(), time.Second)
		_, err := wirepb.NewManagerClient(conn).ListNodes(ctx, &wirepb.ListNodesRequest{})
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			f.t.Fatalf("the manager does not come up: %v\n%s", err, f.tail())
		}
	}
}

// binary is the built pinetree.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "pinetree-fleet-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "pinetree")
		build := exec.Command("go", "build", "-o", binary, "../../cmd/pinetree")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "building pinetree:", err)
			return 1
		}
		return m.Run()
	}())
}
