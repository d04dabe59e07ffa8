// Package flags is shared by commands.
package flags

import "go.etcd.io/raft/v3"

// All is fine.
var All = raft.None
