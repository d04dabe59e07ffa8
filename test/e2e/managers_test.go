package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/test/authority"
)

// freePeer picks two ports in a row on which nobody listens.
func freePeer(t *testing.T) string {
	t.Helper()
	for {
		peer := freeAddr(t, "127.0.0.1")
		host, port, err := net.SplitHostPort(peer)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(n+1)))
		if err == nil {
			l.Close()
			return peer
		}
	}
}

// clusterOfThreeManagers has an etcd of three members and TLS on every connection,
// for which certificates of both ends are asked.
func clusterOfThreeManagers(t *testing.T, ours *authority.Authority) *cluster {
	t.Helper()
	pair := ours.Loopback("everybody")
	protected := []string{"--tls-ca", ours.CA, "--tls-cert", pair.Cert, "--tls-key", pair.Key}
	c := emptyCluster(t, protected...)
	c.credentials = clientTLS(t, ours, pair)
	var peers []string
	for i := range 3 {
		peers = append(peers, fmt.Sprintf("m%d=%s", i+1, freePeer(t)))
	}
	for i := range 3 {
		name, at := fmt.Sprintf("m%d", i+1), c.managed
		if i > 0 {
			at = freeAddr(t, "127.0.0.1")
			c.others, c.theirs = append(c.others, &process{}), append(c.theirs, at)
		}
		*c.managersInOrder()[i] = process{
			t: t, name: "manager " + name, log: filepath.Join(c.dir, name+".log"),
			args: append([]string{"manager", "--listen", at, "--embed-etcd", filepath.Join(c.dir, name),
				"--name", name, "--peers", strings.Join(peers, ",")}, protected...),
		}
	}
	for _, m := range c.others {
		m.start()
	}
	c.fill(3)
	return c
}

func (c *cluster) managersInOrder() []*process { return append([]*process{c.manager}, c.others...) }

func clientTLS(t *testing.T, a *authority.Authority, pair authority.Pair) credentials.TransportCredentials {
	t.Helper()
	own, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return credentials.NewTLS(&tls.Config{RootCAs: a.Pool(), Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS13})
}

// as makes the test's connections from here on with other credentials.
func (c *cluster) as(who credentials.TransportCredentials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credentials, c.conns = who, map[string]*grpc.ClientConn{}
}

// activeManager asks each manager for what only the active one does itself. One
// that wakes up believes for a moment that it still is, so all are asked until one
// alone does.
func (c *cluster) activeManager() int {
	c.t.Helper()
	active := -1
	within(c.t, 15*time.Second, "one active manager", func() error {
		var believe []int
		for i, at := range append([]string{c.managed}, c.theirs...) {
			if c.managersInOrder()[i].running() && c.believesActive(at) {
				believe = append(believe, i)
			}
		}
		if len(believe) != 1 {
			return fmt.Errorf("those who believe that they are: %v", believe)
		}
		active = believe[0]
		return nil
	})
	return active
}

func (c *cluster) believesActive(manager string) bool {
	stream, err := wirepb.NewManagerClient(c.dial(manager)).Heartbeat(c.within(2 * time.Second))
	if err == nil {
		if err = stream.Send(&wirepb.HeartbeatRequest{}); err == nil {
			_, err = stream.Recv()
		}
	}
	return errors.Is(err, pinetree.ErrNotFound) // there is no node 0
}

// seats is who leads each group, under which appointment and in which raft term,
// as the nodes themselves say.
func (c *cluster) seats() map[uint64]string {
	c.t.Helper()
	seats := map[uint64]string{}
	for _, n := range c.nodes {
		status, err := wirepb.NewNodeClient(c.dial(n.addr)).Status(c.within(5*time.Second), &wirepb.StatusRequest{})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, r := range status.GetReplicas() {
			if r.GetLeader() {
				seats[r.GetGroup()] += fmt.Sprintf("node %d, appointment %d, raft term %d", status.GetNode(), r.GetAppointment(), r.GetRaftTerm())
			}
		}
	}
	return seats
}

// leases waits until a volume's leader answers default reads under its lease, and
// returns how long it was without one. No read may fail meanwhile.
func (c *cluster) leases(volume *wirepb.VolumeInfo) (without time.Duration) {
	c.t.Helper()
	leader := c.byID(volume.GetLeader())
	var lost time.Time
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s, err := c.state(leader, volume.GetVolume(), wirepb.ReadLevel_DEFAULT, 2*time.Second)
		switch {
		case err != nil:
			c.t.Fatalf("a default read while managers are gone: %v", err)
		case s.GetServed().GetLevel() == wirepb.ReadLevel_CONSISTENT && lost.IsZero():
			lost = time.Now()
		case s.GetServed().GetLevel() == wirepb.ReadLevel_DEFAULT && !lost.IsZero():
			return time.Since(lost)
		case time.Now().After(deadline):
			c.t.Fatalf("after 20 s reads are %v, first without a lease at %v", s.GetServed(), lost)
		}
	}
}

func TestLosingManagersLosesNoLeader(t *testing.T) {
	long(t)
	ours := authority.New(t)
	c := clusterOfThreeManagers(t, ours)
	var volumes []*wirepb.VolumeInfo
	for i := range 4 {
		// Whichever manager is asked.
		m := wirepb.NewManagerClient(c.dial(append([]string{c.managed}, c.theirs...)[i%3]))
		v, err := m.CreateVolume(c.within(20*time.Second), &wirepb.CreateVolumeRequest{Name: fmt.Sprintf("v%d", i+1), Format: 1})
		if err != nil {
			t.Fatal(err)
		}
		volumes = append(volumes, v)
	}
	w := c.newWriter("v1")
	var end pinetree.LSN
	ship := func(when string) {
		t.Helper()
		if err := c.ship(w, end, end+50*recordBytes, 5*time.Second); err != nil {
			t.Fatalf("writing %s: %v", when, err)
		}
		end += 50 * recordBytes
	}
	ship("at first")
	seats := c.seats()
	same := func(when string) {
		t.Helper()
		ship(when)
		if now := c.seats(); fmt.Sprint(now) != fmt.Sprint(seats) {
			t.Errorf("leaders before: %v; %s: %v", seats, when, now)
		}
	}
	for _, quorum := range []bool{true, false} { // the second time with another active one
		active := c.activeManager()
		killed := time.Now()
		c.managersInOrder()[active].kill()
		ship("without an active manager")
		without := c.leases(volumes[0])
		t.Logf("the active manager killed: %v until the first lease by the next, of which quorum reads for %v",
			time.Since(killed).Round(10*time.Millisecond), without.Round(10*time.Millisecond))
		same("after the active manager's end")
		c.managersInOrder()[active].start()
		if quorum {
			within(t, 20*time.Second, "the killed manager answers again", func() error { return c.answersAt(active) })
		}
	}
	// One that hangs keeps the office for etcd's lease, and wakes up deposed.
	active := c.activeManager()
	hung := time.Now()
	c.managersInOrder()[active].signal(syscall.SIGSTOP)
	c.leases(volumes[0])
	took := time.Since(hung).Round(10 * time.Millisecond)
	t.Logf("the active manager hangs: %v until the first lease by the next", took)
	if took > 10*time.Second { // less than half of it on a machine that is not busy
		t.Errorf("the active manager hangs, and the next one gives leases after %v; see whom its office and the nodes wait for", took)
	}
	c.managersInOrder()[active].signal(syscall.SIGCONT)
	within(t, 10*time.Second, "the manager that hung sends calls on", func() error { return c.answersAt(active) })
	same("after the active manager hung")
	idle := (c.activeManager() + 1) % 3
	c.managersInOrder()[idle].kill()
	time.Sleep(700 * time.Millisecond) // longer than a lease
	if s, err := c.state(c.byID(volumes[0].GetLeader()), volumes[0].GetVolume(), wirepb.ReadLevel_DEFAULT, 2*time.Second); err != nil || s.GetServed().GetLevel() != wirepb.ReadLevel_DEFAULT {
		t.Errorf("one of the idle managers is gone, and a read is %v, %v", s.GetServed(), err)
	}
	same("without one of the idle managers")
	c.managersInOrder()[idle].start()
	for _, m := range c.managersInOrder() {
		m.kill()
	}
	ship("without any manager")
	time.Sleep(700 * time.Millisecond) // longer than a lease
	began := time.Now()
	for _, m := range c.managersInOrder() {
		m.start()
	}
	c.leases(volumes[0])
	t.Logf("all managers started: %v until the first lease", time.Since(began).Round(10*time.Millisecond))
	same("after the restart of all managers")
	c.verify(volumes[0].GetVolume(), end)
}

// answersAt tells whether a manager answers what it has to send on.
func (c *cluster) answersAt(i int) error {
	at := append([]string{c.managed}, c.theirs...)[i]
	_, err := wirepb.NewManagerClient(c.dial(at)).ListGroups(c.within(2*time.Second), &wirepb.ListGroupsRequest{})
	return err
}

// TestStrangersAreRefusedOverMutualTLS also moves a leader, for which nodes and
// managers call each other both ways.
func TestStrangersAreRefusedOverMutualTLS(t *testing.T) {
	beside(t)
	ours, others := authority.New(t), authority.New(t)
	pair, stranger := ours.Loopback("everybody"), others.Loopback("stranger")
	protected := []string{"--tls-ca", ours.CA, "--tls-cert", pair.Cert, "--tls-key", pair.Key}
	c := emptyCluster(t, protected...)
	c.credentials = clientTLS(t, ours, pair)
	c.manager.args = append(c.manager.args, protected...)
	c.fill(3)
	v := c.createVolume("v", pinetree.FormatOpaque)
	w := c.newWriter("v")
	if err := c.ship(w, 0, 100*recordBytes, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	moved, err := c.manages().MoveLeader(c.within(10*time.Second), &wirepb.MoveLeaderRequest{Group: v.GetGroup()})
	if err != nil || !moved.GetMoved() {
		t.Fatalf("moved %v, %v", moved, err)
	}
	if err := c.ship(w, 100*recordBytes, 200*recordBytes, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	c.verify(v.GetVolume(), 200*recordBytes)
	friend := c.credentials
	for name, who := range map[string]credentials.TransportCredentials{
		"plaintext": nil, "another authority's certificate": clientTLS(t, ours, stranger),
		"no certificate": credentials.NewTLS(&tls.Config{RootCAs: ours.Pool()}),
	} {
		c.as(who)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if s, err := c.reads(c.nodes[0]).State(ctx, &wirepb.StateRequest{Volume: v.GetVolume()}); err == nil {
			t.Errorf("%s: a node answers %v", name, s)
		}
		if list, err := c.manages().ListNodes(ctx, &wirepb.ListNodesRequest{}); err == nil {
			t.Errorf("%s: the manager answers %v", name, list)
		}
		cancel()
	}
	c.as(friend)
	// So it is for commands, which say what is missing.
	tail := []string{"tail", "--manager", c.managed, "--volume", "v"}
	if said, err := exec.CommandContext(c.within(15*time.Second), binary, append(tail, protected...)...).CombinedOutput(); err != nil {
		t.Errorf("tail with TLS: %v: %s", err, said)
	}
	ship := exec.CommandContext(c.within(15*time.Second), binary, "ship", "--create", "--manager", c.managed, "--volume", "w", "-")
	if said, err := ship.CombinedOutput(); err == nil || !strings.Contains(string(said), "this process needs --tls-ca") {
		t.Errorf("ship without TLS: %v: %s", err, said)
	}
	// A node that was started without its files says so.
	late := &process{
		t: t, name: "a node without TLS", log: filepath.Join(c.dir, "late.log"),
		args: []string{"node", "--dir", filepath.Join(c.dir, "late"), "--listen", freeAddr(t, "127.0.0.9"), "--manager", c.managed},
	}
	late.start()
	defer late.kill()
	within(t, 10*time.Second, "the node without TLS says what it needs", func() error {
		if said := late.output(); !strings.Contains(said, "this process needs --tls-ca") {
			return fmt.Errorf("it says %s", said)
		}
		return nil
	})
}
