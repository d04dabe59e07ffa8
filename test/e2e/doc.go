// Package e2e tests Pinetree as its users run it: real processes of the built
// binary, real gRPC, real fsync, kill -9, pauses and partitions. It knows
// nothing of the insides but what a client can see.
//
// The default size fits `go test ./...`; `make e2e` runs all of it.
package e2e
