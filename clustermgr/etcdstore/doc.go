// Package etcdstore keeps what the cluster managers remember in etcd, and has
// them elect the active one there. It can run an etcd server of its own, for
// clusters with a single manager. It is the only package that knows etcd, and
// it does not know what it keeps.
package etcdstore
