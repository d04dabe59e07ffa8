// Package wirepb is what Pinetree's processes say to each other: the gRPC
// services, the encoding of raft messages, and the one table between errors
// and gRPC codes. It knows messages, not connections.
package wirepb
