// Package transport carries raft messages of many groups between nodes, on
// connections that share the port of their gRPC servers or over gRPC, and
// snapshots over gRPC. It knows peers, lanes, queues and connections; it does not
// know what a message means beyond which lane it belongs to, and it holds no raft
// state.
//
// Messages may be lost, when a queue is full or a connection breaks, and may
// overtake each other between the two lanes; raft repairs both. Within a lane
// and a connection they arrive in the order in which they were sent.
package transport
