// Package orders is how the cluster manager reaches storage nodes: questions
// and orders over gRPC, each bounded in time, and several nodes asked side by
// side. It decides nothing.
package orders
