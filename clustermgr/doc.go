// Package clustermgr is the cluster manager: it registers storage nodes,
// creates groups and volumes over zones, watches over nodes, appoints the
// leader of every group, grants leases, moves leaders and tells where things
// are. Of several managers one is active at a time, by an office that the store
// gives: it reigns (package reign). A manager is not in the data path: without
// any, writes and quorum reads go on.
package clustermgr
