// Package slow shows that slow parts of a cluster do not slow down the rest:
// real hosts in one process, with real stores over disks that are braked or
// stopped, and writers whose latencies before and during are compared. It also
// shows what thousands of groups cost that nobody uses. It knows no gRPC, so
// that nothing but the part in question is slow.
package slow
