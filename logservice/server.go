package logservice

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/metaserver"
	"github.com/pinetree-db/pinetree/logservice/transport"
	"github.com/pinetree-db/pinetree/logservice/trimmer"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// callTimeout is the deadline of a unary call whose client gave none.
const callTimeout = 10 * time.Second

// buildServer registers every service of the node.
func (n *Node) buildServer() {
	options := append(transport.ServerOptions(), grpc.Creds(n.network.Credentials(n.cfg.Credentials)))
	n.server = grpc.NewServer(append(options,
		grpc.ChainUnaryInterceptor(wirepb.UnaryServerErrors, n.unaryHints, withDeadline),
		grpc.ChainStreamInterceptor(wirepb.StreamServerErrors, n.streamHints),
	)...)
	n.health = health.NewServer()
	grpc_health_v1.RegisterHealthServer(n.server, n.health)
	wirepb.RegisterComputeServer(n.server, &computeService{node: n})
	wirepb.RegisterReadsServer(n.server, &readService{node: n})
	wirepb.RegisterVolumesServer(n.server, &trimmer.Service{Trimmer: n.trimmer})
	n.meta = metaserver.New(metaserver.Config{Host: n.host, Node: n.identity.Node, Read: n.metrics.read})
	wirepb.RegisterMetaServer(n.server, n.meta)
	wirepb.RegisterNodeServer(n.server, &adminService{node: n})
	wirepb.RegisterRaftTransportServer(n.server, n.network)
	reflection.Register(n.server)
}

// withDeadline gives every call an end.
func withDeadline(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	return handler(ctx, request)
}

func (n *Node) unaryHints(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	response, err := handler(ctx, request)
	return response, n.peers.hint(err)
}

func (n *Node) streamHints(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return n.peers.hint(handler(server, stream))
}

func badRequest(format string, args ...any) error {
	return fmt.Errorf("%w: %s", pinetree.ErrBadBatch, fmt.Sprintf(format, args...))
}
