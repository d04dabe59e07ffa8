package reign

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// lonely is a node that says that it leads group 1 and that no quorum answers.
type lonely struct {
	wirepb.UnimplementedNodeServer
}

func (lonely) Status(context.Context, *wirepb.StatusRequest) (*wirepb.StatusResponse, error) {
	return &wirepb.StatusResponse{Node: 1, Replicas: []*wirepb.ReplicaStatus{{
		Group: 1, Leader: true, Appointment: 1, QuorumAgeMs: 10_000, Voters: []uint64{1, 2, 3}, Learners: []uint64{4},
	}}}, nil
}

// TestAChangeThatWasGivenUpIsNotRecorded: a step may end after its change did.
func TestAChangeThatWasGivenUpIsNotRecorded(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	wirepb.RegisterNodeServer(server, lonely{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)

	ctx, cancel := context.WithCancel(t.Context())
	store := ledger.NewMemory()
	office, err := store.Campaign(ctx, "here")
	if err != nil {
		t.Fatal(err)
	}
	n := ledger.Node{ID: 1, Instance: "i", Address: listener.Addr().String()}
	recorded := ledger.Group{
		ID: 1, Voters: []pinetree.NodeID{1, 2, 3}, Created: true, Lease: lease.Record{Appointment: 1, Node: 1},
		Change: &ledger.ReplicaChange{Number: 2, Add: 4}, Changes: 2,
	}
	if _, err := store.Swap(ctx, office, []ledger.Change{
		ledger.Kept[ledger.Node]{}.Put(n.Key(), n), ledger.Kept[ledger.Group]{}.Put(recorded.Key(), recorded),
	}); err != nil {
		t.Fatal(err)
	}
	cfg, err := Config{Store: store, Address: "here"}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Begin(ctx, cfg, office)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run() }()
	defer func() { cancel(); <-ended }()

	var step func() error
	r.tell(func() {
		r.nodes[1].replicas = map[pinetree.GroupID]*wirepb.ReplicaStatus{1: {Group: 1, Leader: true, Appointment: 1}}
		step = r.changeTask(r.groups[1])
	})
	if err := step(); err == nil || !strings.Contains(err.Error(), "has not heard from a quorum") {
		t.Errorf("a step by the word of a leader that is cut off: %v", err)
	}
	entries, err := store.Read(ctx, recorded.Key())
	if err != nil || len(entries) != 1 || !strings.Contains(string(entries[0].Value), `"voters":[1,2,3]`) {
		t.Errorf("%v, %v", entries, err)
	}
}
