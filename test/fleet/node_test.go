package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// raft is what the replicas of a group have in common: each campaign succeeds,
// in a raft term of its own.
type raft struct {
	mu     sync.Mutex
	term   uint64
	leader pinetree.NodeID
}

// replica is what a node reports of a group.
type replica struct {
	group  uint64
	voters []uint64
	raft   *raft
	holder lease.Holder
	leads  pinetree.RaftTerm // zero when it follows
	index  uint64            // of its last entry
}

// node is a simulated storage node.
type node struct {
	wirepb.UnimplementedNodeServer
	fleet    *fleet
	id       pinetree.NodeID
	instance string
	address  string
	server   *grpc.Server
	stop     context.CancelFunc
	done     sync.WaitGroup

	mu       sync.Mutex
	replicas map[uint64]*replica
	changed  map[uint64]bool // since the last heartbeat
	poke     chan struct{}
}

// listen serves the manager's orders.
func (n *node) listen() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	n.address = listener.Addr().String()
	n.server = grpc.NewServer(grpc.UnaryInterceptor(wirepb.UnaryServerErrors))
	wirepb.RegisterNodeServer(n.server, n)
	n.done.Go(func() { _ = n.server.Serve(listener) })
	return nil
}

// live sends heartbeats until the node is killed.
func (n *node) live(ctx context.Context, manager string) {
	ctx, n.stop = context.WithCancel(ctx)
	n.done.Go(func() {
		for ctx.Err() == nil {
			if err := n.heartbeats(ctx, manager); err != nil && ctx.Err() == nil {
				n.fleet.t.Logf("node %d: %v", n.id, err)
				time.Sleep(100 * time.Millisecond)
			}
		}
	})
}

// kill ends the node as the end of its process does: its port refuses.
func (n *node) kill() {
	if n.stop != nil {
		n.stop()
	}
	n.server.Stop()
	n.done.Wait()
}

func (n *node) heartbeats(ctx context.Context, manager string) error {
	conn, err := grpc.NewClient("passthrough:///"+manager, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(), grpc.WithChainStreamInterceptor(wirepb.StreamClientErrors))
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := wirepb.NewManagerClient(conn).Heartbeat(ctx)
	if err != nil {
		return err
	}
	answers := make(chan *wirepb.HeartbeatResponse)
	failed := make(chan error, 1)
	go func() {
		for {
			answer, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case answers <- answer:
			case <-ctx.Done():
				return
			}
		}
	}()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	asked := map[uint64]lease.Instant{}
	for sequence := uint64(1); ; sequence++ {
		asked[sequence] = lease.BootTime()
		delete(asked, sequence-64)
		if err := stream.Send(n.report(sequence)); err != nil {
			return errors.Join(err, ctx.Err())
		}
		for again := false; !again; {
			select {
			case <-tick.C:
				again = true
			case <-n.poke:
				again = true
			case a := <-answers:
				n.take(a, asked[a.GetSequence()])
			case err := <-failed:
				return err
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// report is a heartbeat: everything at first, then what leads or has changed, as
// busy nodes report.
func (n *node) report(sequence uint64) *wirepb.HeartbeatRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	beat := &wirepb.HeartbeatRequest{
		Node: uint64(n.id), Instance: n.instance, Sequence: sequence, FsyncAgeMs: 3, FsyncUs: 300, Load: 100, ChangesOnly: sequence > 1,
	}
	for id, r := range n.replicas {
		if r.leads != 0 {
			r.index += 7
		}
		if sequence == 1 || r.leads != 0 || n.changed[id] {
			beat.Replicas = append(beat.Replicas, n.status(r))
		}
	}
	clear(n.changed)
	return beat
}

// status is the state of one replica. The caller holds n.mu.
func (n *node) status(r *replica) *wirepb.ReplicaStatus {
	r.raft.mu.Lock()
	term, leader := r.raft.term, r.raft.leader
	r.raft.mu.Unlock()
	if leader != n.id || uint64(r.leads) != term {
		r.leads = 0
	}
	return &wirepb.ReplicaStatus{
		Group: r.group, Leader: r.leads != 0, Ready: r.leads != 0, Activated: r.holder.Activated(r.leads), RaftTerm: term,
		Appointment: uint64(r.holder.Appointment()), Released: uint64(r.holder.Released()), QuorumAgeMs: 12,
		LastTerm: 1, LastIndex: r.index, Committed: r.index, Applied: r.index, LeaderHint: uint64(leader), Voters: r.voters,
		CommitUs: 900, ApplyUs: 200,
		Volumes: []*wirepb.VolumeStatus{{Volume: r.group, CommittedLsn: r.index * 100, AppliedLsn: r.index * 100, ComputeTerm: 1}},
	}
}

// take uses grants, and tells the fleet of leaders that became active.
func (n *node) take(a *wirepb.HeartbeatResponse, asked lease.Instant) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, g := range a.GetGrants() {
		r := n.replicas[g.GetGroup()]
		if r == nil || asked == 0 {
			continue
		}
		was := r.holder.Activated(r.leads)
		r.holder.Use(lease.Grant{
			Group: pinetree.GroupID(g.GetGroup()), Appointment: pinetree.AppointmentID(g.GetAppointment()),
			Term: pinetree.RaftTerm(g.GetRaftTerm()), Duration: time.Duration(g.GetDurationMs()) * time.Millisecond,
		}, asked, r.leads)
		if r.leads != 0 && !was && r.holder.Activated(r.leads) {
			n.fleet.activated(g.GetGroup(), n.id)
		}
	}
}

// Appoint implements wirepb.NodeServer: the campaign succeeds.
func (n *node) Appoint(_ context.Context, q *wirepb.AppointRequest) (*wirepb.AppointResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.replicas[q.GetGroup()]
	if r == nil {
		return nil, fmt.Errorf("%w: group %d", pinetree.ErrUnknownGroup, q.GetGroup())
	}
	if err := r.holder.Appoint(pinetree.AppointmentID(q.GetAppointment())); err != nil {
		return nil, err
	}
	r.raft.mu.Lock()
	if r.raft.leader != n.id || r.leads == 0 {
		r.raft.term++
		r.raft.leader = n.id
		r.leads = pinetree.RaftTerm(r.raft.term)
	}
	r.raft.mu.Unlock()
	n.changed[r.group] = true
	select {
	case n.poke <- struct{}{}:
	default:
	}
	return &wirepb.AppointResponse{Status: n.status(r)}, nil
}

// Status implements wirepb.NodeServer.
func (n *node) Status(_ context.Context, q *wirepb.StatusRequest) (*wirepb.StatusResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	answer := &wirepb.StatusResponse{Node: uint64(n.id), Instance: n.instance}
	for id, r := range n.replicas {
		if q.GetGroup() == 0 || q.GetGroup() == id {
			answer.Replicas = append(answer.Replicas, n.status(r))
		}
	}
	return answer, nil
}
