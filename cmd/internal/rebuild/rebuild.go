// Package rebuild makes the engine of a stopped node anew, from the peers of its
// replicas. The node's raft logs and votes stay as they are, so that nothing it
// has promised is forgotten: what comes from a peer is only what those logs led,
// or would have led, to. It knows engines, raft logs and the orders between nodes;
// it knows no backend.
package rebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog"
)

// Node is a stopped node whose engine is to be made.
type Node struct {
	ID      pinetree.NodeID
	Log     raftlog.Store
	Engines engine.Store // empty
	// Ask calls the cluster's active manager.
	Ask  func(context.Context, func(context.Context, wirepb.ManagerClient) error) error
	Dial []grpc.DialOption
	// Tell hears what is done, in words.
	Tell func(format string, args ...any)
}

// Replicas brings the state of every group of which the node has a raft log and
// is a member, durably on return, and tells of how many. Groups of which the node
// is no member any more are left out: the node is told to remove their logs when
// it runs.
func (n *Node) Replicas(ctx context.Context) (int, error) {
	var groups *wirepb.ListGroupsResponse
	addresses := map[uint64]string{}
	err := n.Ask(ctx, func(ctx context.Context, m wirepb.ManagerClient) (err error) {
		nodes, err := m.ListNodes(ctx, &wirepb.ListNodesRequest{})
		for _, peer := range nodes.GetNodes() {
			addresses[peer.GetNode()] = peer.GetAddress()
		}
		if err == nil {
			groups, err = m.ListGroups(ctx, &wirepb.ListGroupsRequest{})
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	made := 0
	for _, id := range n.Log.Groups() {
		at := slices.IndexFunc(groups.GetGroups(), func(g *wirepb.GroupInfo) bool { return g.GetGroup() == uint64(id) })
		if at < 0 || !n.member(groups.Groups[at]) {
			n.Tell("group %d: this node is no member of it any more; its raft log is left for the managers to remove", id)
			continue
		}
		if err := n.replica(ctx, groups.Groups[at], addresses); err != nil {
			return made, fmt.Errorf("group %d: %w", id, err)
		}
		made++
	}
	return made, nil
}

func (n *Node) member(g *wirepb.GroupInfo) bool {
	return slices.Contains(g.GetVoters(), uint64(n.ID)) || slices.Contains(g.GetLearners(), uint64(n.ID))
}

// replica asks the peers of a group one after the other, its leader first and
// then whoever has replayed most.
func (n *Node) replica(ctx context.Context, g *wirepb.GroupInfo, addresses map[uint64]string) error {
	rank := func(r *wirepb.ReplicaInfo) uint64 {
		if r.GetNode() == g.GetLeader() {
			return math.MaxUint64
		}
		return r.GetStatus().GetApplied()
	}
	peers := slices.Clone(g.GetReplicas())
	slices.SortFunc(peers, func(a, b *wirepb.ReplicaInfo) int {
		return cmp.Compare(rank(b), rank(a))
	})
	err := errors.New("no peer has a replica")
	for _, peer := range peers {
		if peer.GetNode() == uint64(n.ID) {
			continue
		}
		from := source{node: pinetree.NodeID(peer.GetNode()), address: addresses[peer.GetNode()]}
		at, failed := n.fetch(ctx, pinetree.GroupID(g.GetGroup()), from)
		if failed == nil {
			n.Tell("group %d: rebuilt from node %d as of raft index %d, %d volumes", g.GetGroup(), from.node, at.Index, len(at.Volumes))
			return nil
		}
		n.Tell("group %d: node %d cannot give it: %v", g.GetGroup(), from.node, failed)
		err = fmt.Errorf("node %d: %w", from.node, failed)
	}
	return fmt.Errorf("none of its other replicas could give the state: %w; bring one of them back and try again", err)
}

// source is a peer that has a replica.
type source struct {
	node    pinetree.NodeID
	address string
}

// fetch makes the state of a group from that of a peer.
func (n *Node) fetch(ctx context.Context, id pinetree.GroupID, from source) (at pinetree.Position, err error) {
	conn, err := grpc.NewClient("passthrough:///"+from.address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithChainUnaryInterceptor(wirepb.UnaryClientErrors), grpc.WithChainStreamInterceptor(wirepb.StreamClientErrors),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	}, n.Dial...)...)
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := wirepb.NewNodeClient(conn).Export(ctx, &wirepb.ExportRequest{Group: uint64(id)})
	if err != nil {
		return at, err
	}
	// Each piece has its own deadline: the whole may take long.
	stalled := time.AfterFunc(stall, cancel)
	defer stalled.Stop()
	head, err := stream.Recv()
	if err != nil {
		return at, err
	}
	if at, err = storepb.DecodePosition(head.GetPosition()); err != nil {
		return at, err
	}
	if err := n.fits(id, at); err != nil {
		return at, err
	}
	restore, err := n.Engines.Restore(id, at)
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, restore.Close()) }()
	for {
		stalled.Reset(stall)
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return at, restore.Commit()
		}
		if err != nil {
			return at, err
		}
		if err := restore.Write(piece.GetChunk()); err != nil {
			return at, err
		}
	}
}

// stall is how long a peer may send nothing.
const stall = 30 * time.Second

// fits refuses a state that ends before this node's raft log begins: what lies
// between is nowhere to be had.
func (n *Node) fits(id pinetree.GroupID, at pinetree.Position) error {
	first, err := n.Log.View(id).FirstIndex()
	if err != nil {
		return err
	}
	if uint64(at.Index)+1 < first {
		return fmt.Errorf("%w: it has replayed up to index %d, and this node's raft log begins at %d; wait until it has replayed more", pinetree.ErrStopped, at.Index, first)
	}
	return nil
}
