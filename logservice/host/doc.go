// Package host runs the replicas of one storage node: workers own them, one log
// writer makes all of them durable with one fsync, appliers replay beside them.
// Group is the handle through which services order, ship and read. It knows no
// gRPC and no files: messages leave through a function, the log and the engine
// are contracts. What a replica decides is in package group.
package host
