// Package clustermgr is the cluster manager: it registers storage nodes,
// creates groups and volumes over zones, watches over nodes, appoints the
// leader of every group, grants leases, moves leaders and tells where things
// are. Of several managers one is active at a time, by an office that the store
// gives. It is not in the data path: without any manager writes and quorum
// reads go on.
//
// A reign is the time during which a manager is active. Everything in it
// belongs to one goroutine; whatever waits for the network or the store runs
// beside it and posts its result. What it decides by is in package policy, what
// it remembers in ledger, and how it reaches nodes in orders.
//
// It knows no etcd, no raft and no storage engine.
package clustermgr
