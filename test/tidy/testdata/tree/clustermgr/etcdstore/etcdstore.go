// Package etcdstore keeps every rule.
package etcdstore

import (
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pinetree-db/pinetree/clustermgr"
)

// New is fine.
func New() []any { return []any{clustermgr.New, clientv3.New} }
