package wirepb

import (
	"context"

	"google.golang.org/grpc"
)

// UnaryServerErrors is the server interceptor that sends handlers' errors
// through Error.
func UnaryServerErrors(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	response, err := handler(ctx, request)
	return response, Error(err)
}

// StreamServerErrors is UnaryServerErrors for streams.
func StreamServerErrors(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return Error(handler(server, stream))
}

// UnaryClientErrors is the client interceptor that sends received errors
// through FromError.
func UnaryClientErrors(ctx context.Context, method string, request, response any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return FromError(invoke(ctx, method, request, response, conn, opts...))
}

// StreamClientErrors is UnaryClientErrors for streams.
func StreamClientErrors(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, FromError(err)
	}
	return errorStream{stream}, nil
}

// errorStream sends the errors of a client stream through FromError. io.EOF,
// the end of a stream that went well, passes.
type errorStream struct{ grpc.ClientStream }

// SendMsg is ClientStream's.
func (s errorStream) SendMsg(m any) error { return FromError(s.ClientStream.SendMsg(m)) }

// RecvMsg is ClientStream's.
func (s errorStream) RecvMsg(m any) error { return FromError(s.ClientStream.RecvMsg(m)) }

// CloseSend is ClientStream's.
func (s errorStream) CloseSend() error { return FromError(s.ClientStream.CloseSend()) }
