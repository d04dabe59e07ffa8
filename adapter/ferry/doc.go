// Package ferry has small reads travel together. A read that meets no crowd is a
// call of its own; those that come while enough calls are under way wait for one
// of them to end, and go in one call then. It knows how reads wait and who may go
// when, and nothing of what is read, of whom, or over which wire.
package ferry
