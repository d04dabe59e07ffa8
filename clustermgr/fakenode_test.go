package clustermgr

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// fakeRaft is what the replicas of all groups have in common: who leads in
// which raft term, and who is reachable. It elects whoever campaigns with a log
// as long as those of a majority.
type fakeRaft struct {
	mu    sync.Mutex
	terms map[uint64]uint64 // by group
	nodes map[pinetree.NodeID]*fakeNode
}

// fakeReplica is one replica of a fake node.
type fakeReplica struct {
	voters  []uint64
	learns  []uint64
	changes uint64 // of the members, as far as this replica knows
	gone    bool   // removed from the group
	holder  lease.Holder
	leads   pinetree.RaftTerm
	index   uint64 // of the last entry
	volumes map[uint64]uint32
}

// fakeNode is a scripted storage node: a server of wirepb.Node and a client
// that registers and sends heartbeats, over real connections.
type fakeNode struct {
	wirepb.UnimplementedNodeServer
	t        *testing.T
	raft     *fakeRaft
	managers []string
	instance string
	zone     string
	address  string
	server   *grpc.Server
	stop     context.CancelFunc
	done     sync.WaitGroup
	poke     chan struct{}

	// Under raft.mu.
	id       pinetree.NodeID
	cluster  string
	replicas map[uint64]*fakeReplica
	grants   int
	frozen   bool          // answers nothing and sends nothing
	space    string        // the mark that its disk is below
	hang     time.Duration // an fsync has been waiting for this long
	cutOff   bool          // from its peers
	noMoves  string        // why it refuses transfers
	lateNo   bool          // it does so only when it is ordered, not when it is asked
	lags     int           // as often, it answers that the target lags
	deaf     bool          // releases, transfers, and the target never leads
	late     int           // so many heartbeats of a leader are from before it was appointed
	peers    int           // addresses learnt
	orders   map[string]int
	deleted  map[uint64]bool // groups
	slow     bool            // its replica does not catch up
	hold     string          // an order that is taken, carried out and never answered
}

func (n *fakeNode) lock() func() { n.raft.mu.Lock(); return n.raft.mu.Unlock }

// number is the node's id, which registering sets.
func (n *fakeNode) number() uint64 {
	defer n.lock()()
	return uint64(n.id)
}

// start serves, registers and heartbeats until stop.
func (n *fakeNode) start() {
	n.t.Helper()
	listener := listen(n.t, cmpOr(n.address, "127.0.0.1:0"))
	n.address = listener.Addr().String()
	n.server = grpc.NewServer(grpc.UnaryInterceptor(wirepb.UnaryServerErrors))
	wirepb.RegisterNodeServer(n.server, n)
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.done.Go(func() { _ = n.server.Serve(listener) })
	n.done.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_ = n.heartbeats(ctx, n.managers[i%len(n.managers)])
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// kill ends the process: connections are refused, what was in memory is gone.
func (n *fakeNode) kill() {
	n.stop()
	n.server.Stop()
	n.done.Wait()
	defer n.lock()()
	for _, r := range n.replicas {
		r.holder, r.leads = lease.NewHolder(0.01), 0
	}
	n.frozen = false
}

func (n *fakeNode) dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(wirepb.UnaryClientErrors), grpc.WithStreamInterceptor(wirepb.StreamClientErrors))
}

func (n *fakeNode) heartbeats(ctx context.Context, manager string) error {
	conn, err := n.dial(manager)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := wirepb.NewManagerClient(conn)
	unlock := n.lock()
	q := &wirepb.RegisterRequest{Cluster: n.cluster, Node: uint64(n.id), Instance: n.instance, Address: n.address, Zone: n.zone}
	unlock()
	registering, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	registered, err := client.Register(registering, q)
	if err != nil {
		return err
	}
	unlock = n.lock()
	n.cluster, n.id = registered.GetCluster(), pinetree.NodeID(registered.GetNode())
	n.raft.nodes[n.id] = n
	unlock()
	ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Heartbeat(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	asked := map[uint64]lease.Instant{}
	broken := make(chan error, 1)
	var receiver sync.WaitGroup
	defer receiver.Wait()
	defer cancel()
	receiver.Go(func() {
		for {
			answer, err := stream.Recv()
			if err != nil {
				broken <- err
				return
			}
			mu.Lock()
			at := asked[answer.GetSequence()]
			mu.Unlock()
			n.use(answer, at)
		}
	})
	pace := time.NewTicker(time.Duration(registered.GetHeartbeatIntervalMs()) * time.Millisecond)
	defer pace.Stop()
	for sequence := uint64(1); ; sequence++ {
		mu.Lock()
		asked[sequence] = lease.BootTime()
		mu.Unlock()
		if request := n.state(sequence); request != nil {
			if err := stream.Send(request); err != nil {
				return err
			}
		}
		select {
		case <-pace.C:
		case <-n.poke:
		case err := <-broken:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *fakeNode) state(sequence uint64) *wirepb.HeartbeatRequest {
	defer n.lock()()
	if n.frozen {
		return nil
	}
	q := &wirepb.HeartbeatRequest{Node: uint64(n.id), Instance: n.instance, Sequence: sequence, FsyncPendingMs: uint32(n.hang.Milliseconds()), Space: n.space}
	for id := range n.replicas {
		s := n.status(id)
		if s.GetLeader() && n.late > 0 {
			n.late--
			s.Appointment = 0
		}
		q.Replicas = append(q.Replicas, s)
	}
	return q
}

// status is called under the lock.
func (n *fakeNode) status(group uint64) *wirepb.ReplicaStatus {
	r := n.replicas[group]
	s := &wirepb.ReplicaStatus{
		Group: group, Leader: r.leads != 0, Ready: r.leads != 0, Activated: r.holder.Activated(r.leads),
		RaftTerm: n.raft.terms[group], Appointment: uint64(r.holder.Appointment()), Released: uint64(r.holder.Released()),
		LastTerm: 1, LastIndex: r.index, Committed: r.index, Applied: r.index, Voters: r.voters,
		Learners: r.learns, MembersAt: 1 + r.changes, Blank: len(r.voters) == 0, Removed: r.gone,
	}
	if r.gone {
		s.Stopped = "removed from its group"
	}
	if r.leads != 0 {
		s.RaftTerm = uint64(r.leads)
		s.Members = n.progress(r)
	}
	if n.cutOff {
		s.QuorumAgeMs = 5000
	}
	for id := range r.volumes {
		s.Volumes = append(s.Volumes, &wirepb.VolumeStatus{Volume: id, CommittedLsn: 77, AppliedLsn: 77, ComputeTerm: 2})
	}
	return s
}

// use takes grants, and fails the test when two nodes hold a lease at once.
func (n *fakeNode) use(answer *wirepb.HeartbeatResponse, asked lease.Instant) {
	defer n.lock()()
	if len(answer.GetPeers()) > 0 {
		n.peers = len(answer.GetPeers())
	}
	for _, g := range answer.GetGrants() {
		r := n.replicas[g.GetGroup()]
		if r == nil || !r.holder.Use(lease.Grant{
			Group: pinetree.GroupID(g.GetGroup()), Appointment: pinetree.AppointmentID(g.GetAppointment()),
			Term: pinetree.RaftTerm(g.GetRaftTerm()), Duration: time.Duration(g.GetDurationMs()) * time.Millisecond,
		}, asked, r.leads) {
			continue
		}
		n.grants++
		holders := n.raft.holders(g.GetGroup())
		if len(holders) > 1 {
			n.t.Errorf("group %d: nodes %v hold the lease at once", g.GetGroup(), holders)
		}
	}
}

func (f *fakeRaft) holders(group uint64) []pinetree.NodeID {
	var found []pinetree.NodeID
	for id, n := range f.nodes {
		if r := n.replicas[group]; r != nil && r.holder.Expiry(r.leads) > lease.BootTime() {
			found = append(found, id)
		}
	}
	return found
}

// elect makes a node lead if a majority follows it. Called under the lock.
func (n *fakeNode) elect(group uint64) error {
	r := n.replicas[group]
	if r.gone || !slices.Contains(r.voters, uint64(n.id)) {
		return fmt.Errorf("node %d is no voter", n.id)
	}
	votes := 0
	for _, id := range r.voters {
		peer := n.raft.nodes[pinetree.NodeID(id)]
		if peer == n || peer != nil && peer.replicas[group] != nil && !peer.frozen && !peer.cutOff && !n.cutOff && peer.up() && peer.replicas[group].index <= r.index {
			votes++
		}
	}
	if votes <= len(r.voters)/2 {
		return fmt.Errorf("%d votes of %d", votes, len(r.voters))
	}
	n.raft.terms[group]++
	for _, id := range r.voters {
		if peer := n.raft.nodes[pinetree.NodeID(id)]; peer != nil && peer != n && !peer.cutOff && !peer.frozen && peer.replicas[group] != nil {
			peer.replicas[group].leads = 0
			peer.ping()
		}
	}
	r.leads = pinetree.RaftTerm(n.raft.terms[group])
	n.ping()
	return nil
}

// up tells whether the node's server runs. Called under the lock.
func (n *fakeNode) up() bool {
	conn, err := net.DialTimeout("tcp", n.address, 100*time.Millisecond)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

func (n *fakeNode) ping() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
}
