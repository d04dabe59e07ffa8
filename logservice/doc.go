// Package logservice is a storage node: the gRPC services over the replicas
// that package host runs, and the agent that keeps the node known to the
// cluster manager. It knows the wire, the node's identity and its peers. It
// does not know how a replica decides, nor which backends keep the bytes.
package logservice
