// Package fanout gives the log of volumes to those who follow it. For each volume
// that has tails here it keeps the newest batches in a ring, encoded once, and
// every tail is sent them from that memory. Who is behind the ring reads the
// engine's log, a slice at a time and no faster than leaves the others alone, and
// then goes on in the ring. Who does not take what it was sent holds one answer and
// nothing more: the ring goes on without it.
//
// It knows neither gRPC nor replicas: it is fed with what they commit and replay,
// is given a way to read the engine's log, and sends by a function.
package fanout
