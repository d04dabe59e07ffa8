package reign

import (
	"cmp"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/grants"
	"github.com/pinetree-db/pinetree/clustermgr/members"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// session is the heartbeat stream of one node. Its fields belong to the reign's
// owner, except for the channels.
type session struct {
	node      *node
	sequence  uint64        // of the newest request
	addresses uint64        // reign.addresses when they were last sent
	waiting   grants.Bundle // what is to leave next
	wake      chan struct{} // holds a token when something waits
	over      chan struct{} // closed when a newer session of the node began, or it has left
}

// beats is the server's end of a heartbeat stream.
type beats = grpc.BidiStreamingServer[wirepb.HeartbeatRequest, wirepb.HeartbeatResponse]

// Heartbeats serves the stream of one node: this goroutine sends, and one begun
// by receiving receives. It ends when the stream does, which is when this
// function has returned.
func (r *Reign) Heartbeats(stream beats, receiving func(func())) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	var s *session
	if e := r.do(stream.Context(), func() { s, err = r.connect(first) }); e != nil || err != nil {
		return cmp.Or(e, err)
	}
	broken := make(chan error, 1)
	receiving(func() { broken <- r.receive(stream, s, first) })
	err = r.send(stream, s, broken)
	r.tell(func() { r.disconnect(s) })
	return err
}

func (r *Reign) receive(stream beats, s *session, first *wirepb.HeartbeatRequest) error {
	for request := first; ; {
		if err := r.do(stream.Context(), func() { r.heartbeat(s, request) }); err != nil {
			return err
		}
		var err error
		if request, err = stream.Recv(); err != nil {
			return err
		}
	}
}

func (r *Reign) send(stream beats, s *session, broken <-chan error) error {
	for {
		select {
		case <-s.wake:
			var a grants.Bundle
			if err := r.do(stream.Context(), func() { a, s.waiting = s.waiting, grants.Bundle{} }); err != nil {
				return err
			}
			if err := stream.Send(a.Response()); err != nil {
				return err
			}
			r.tell(func() { r.answered(a) })
		case err := <-broken:
			return err
		case <-s.over:
			return refuse(pinetree.ErrStopped, "node %d has opened a newer heartbeat stream, or has left the cluster", s.node.Is.ID)
		case <-r.ctx.Done():
			return NotActive("")
		}
	}
}

// connect begins a session, after checking who it is.
func (r *Reign) connect(first *wirepb.HeartbeatRequest) (*session, error) {
	n, err := r.identify(pinetree.NodeID(first.GetNode()), first.GetInstance())
	if err != nil {
		return nil, err
	}
	if first.GetChangesOnly() {
		return nil, refuse(pinetree.ErrBadBatch, "the first heartbeat of a stream tells of all replicas, and that of node %d does not", n.Is.ID)
	}
	if n.session != nil {
		close(n.session.over)
	}
	n.session = &session{node: n, wake: make(chan struct{}, 1), over: make(chan struct{})}
	n.Vitals.Connect()
	r.dial.Fresh(n.Is.Address)
	return n.session, nil
}

// identify finds a node by its id and the instance of its directory.
func (r *Reign) identify(id pinetree.NodeID, instance string) (*node, error) {
	n := r.nodes[id]
	if n == nil && id <= r.counters.Is.Node {
		return nil, members.Unknown(id, r.counters.Is.Node)
	}
	if n == nil {
		return nil, refuse(pinetree.ErrNotFound, "node %d is not known to cluster %s: its directory is of another cluster", id, r.cluster.Is.ID)
	}
	if n.Is.Instance != instance {
		return nil, refuse(pinetree.ErrExists, "node id %d belongs to the directory with instance %s, and this one is %s: "+
			"a node that lost its directory starts with an empty one and gets a new id", id, n.Is.Instance, instance)
	}
	return n, nil
}

func (r *Reign) disconnect(s *session) {
	if s.node.session != s {
		return
	}
	s.node.session = nil
	s.node.Vitals.Disconnect()
	r.look()
}

// heartbeat takes in the state of a node and answers with what it is granted.
func (r *Reign) heartbeat(s *session, request *wirepb.HeartbeatRequest) {
	n := s.node
	if n.session != s || request.GetSequence() < s.sequence {
		return
	}
	s.sequence = request.GetSequence()
	n.Beat(request)
	if request.GetChangesOnly() {
		for _, id := range request.GetGone() {
			delete(n.replicas, pinetree.GroupID(id))
			r.chores.news = true
		}
		r.update(n, request.GetReplicas(), n.replicas)
	} else {
		r.report(n, request.GetReplicas())
	}
	answer := grants.Bundle{Sequence: s.sequence}
	for _, status := range request.GetReplicas() {
		if g := r.groups[pinetree.GroupID(status.GetGroup())]; g != nil && status.GetLeader() {
			r.claim(g, n, &answer)
		}
	}
	if s.addresses != r.addresses {
		s.addresses = r.addresses
		answer.Peers = r.peers()
	}
	r.push(s, answer)
}

// report takes in what a node says of all its replicas, in a heartbeat or when it
// was asked.
func (r *Reign) report(n *node, replicas []*wirepb.ReplicaStatus) {
	before := n.replicas
	n.replicas = make(map[pinetree.GroupID]*wirepb.ReplicaStatus, len(replicas))
	r.update(n, replicas, before)
	for id := range before {
		r.chores.news = r.chores.news || n.replicas[id] == nil
	}
}

// update takes in what a node says of some of its replicas, which were as in
// before. The others are as they were.
func (r *Reign) update(n *node, replicas []*wirepb.ReplicaStatus, before map[pinetree.GroupID]*wirepb.ReplicaStatus) {
	now := r.cfg.Clock()
	n.Vitals.Hear(now)
	if n.reported == 0 {
		defer r.notify()
	}
	n.reported = now
	for _, status := range replicas {
		id := pinetree.GroupID(status.GetGroup())
		was := before[id]
		n.replicas[id] = status
		g := r.groups[id]
		if g == nil {
			continue
		}
		g.progress.See(status.GetCommitted(), now)
		r.released(g, n.Is.ID, pinetree.AppointmentID(status.GetReleased()))
		r.chores.news = r.chores.news || policy.Useless(was, true) != policy.Useless(status, true)
		if was.GetLeader() != status.GetLeader() || was.GetReady() != status.GetReady() {
			r.lookAt(g, now)
			r.notify()
		}
	}
}

// push has a reply sent, together with what still waits to be.
func (r *Reign) push(s *session, a grants.Bundle) {
	s.waiting.Add(a)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// peers lists the addresses of all nodes.
func (r *Reign) peers() []*wirepb.NodeInfo {
	var list []*wirepb.NodeInfo
	for _, n := range r.sortedNodes() {
		list = append(list, &wirepb.NodeInfo{Node: uint64(n.Is.ID), Address: n.Is.Address, Zone: n.Is.Zone})
	}
	return list
}

// ask probes a node that is suspected: its process may be gone, or only its
// heartbeats.
func (r *Reign) ask(n *node, now lease.Instant) {
	n.Vitals.ProbeBegins(now)
	target := n.target()
	r.spawn(func() {
		state, refused := r.dial.Probe(r.ctx, target.Address)
		r.tell(func() {
			answered := state != nil && state.GetInstance() == n.Is.Instance
			n.Vitals.ProbeEnds(r.cfg.Clock(), answered, refused && n.Is.Address == target.Address)
			if answered && n.session == nil {
				r.report(n, state.GetReplicas())
			}
			r.look()
		})
	})
}
