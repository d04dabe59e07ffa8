package front

import (
	"fmt"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

// Kind is how records come over the network.
type Kind string

// The fronts.
const (
	TCP  Kind = "tcp"
	GRPC Kind = "grpc"
)

// Server is a front that is listening.
type Server interface {
	// Close ends all connections and waits for their goroutines.
	Close() error
}

// Listen serves a log at an address.
func Listen(kind Kind, addr string, log Log) (Server, error) {
	switch kind {
	case TCP:
		return listenTCP(addr, log)
	case GRPC:
		return listenGRPC(addr, log)
	}
	return nil, fmt.Errorf("there is no front %q, only %s and %s", kind, TCP, GRPC)
}

// Dial reaches a server of Listen.
func Dial(kind Kind, addr string, sink load.Sink) (load.Client, error) {
	switch kind {
	case TCP:
		return dialTCP(addr, sink)
	case GRPC:
		return dialGRPC(addr, sink)
	}
	return nil, fmt.Errorf("there is no front %q, only %s and %s", kind, TCP, GRPC)
}
