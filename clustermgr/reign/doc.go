// Package reign is the time during which a cluster manager is the active one.
// Everything in it belongs to one goroutine; whatever waits for the network or
// the store runs beside it and posts its result. What it decides by is in
// package policy, what it remembers in ledger, and how it reaches nodes in
// orders.
//
// It knows no etcd, no raft and no storage engine.
package reign
