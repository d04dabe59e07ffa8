package operator

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// forgetful is a manager that takes orders and lists no node.
type forgetful struct {
	wirepb.UnimplementedManagerServer
	fails error
}

func (forgetful) DrainNode(context.Context, *wirepb.DrainNodeRequest) (*wirepb.NodeInfo, error) {
	return &wirepb.NodeInfo{}, nil
}

func (m forgetful) ListNodes(context.Context, *wirepb.ListNodesRequest) (*wirepb.ListNodesResponse, error) {
	return &wirepb.ListNodesResponse{}, m.fails
}

// TestAnOrderWhoseNodeIsNotListedAfterwardsIsAnError: the node may be removed, or the
// manager's time may be over, between the order and the listing.
func TestAnOrderWhoseNodeIsNotListedAfterwardsIsAnError(t *testing.T) {
	for name, manager := range map[string]forgetful{"removed": {}, "a manager without an answer": {fails: pinetree.ErrQueueFull}} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := grpc.NewServer(grpc.UnaryInterceptor(wirepb.UnaryServerErrors))
			wirepb.RegisterManagerServer(server, manager)
			served := make(chan error, 1)
			go func() { served <- server.Serve(listener) }()
			defer func() { server.Stop(); <-served }()
			c := nodeCommand()
			c.SetArgs([]string{"undrain", "2", "--manager", listener.Addr().String()})
			c.SetOut(io.Discard)
			c.SetErr(io.Discard)
			if err := c.ExecuteContext(t.Context()); err == nil || manager.fails != nil && !errors.Is(err, manager.fails) {
				t.Errorf("undrain: %v", err)
			}
		})
	}
}
