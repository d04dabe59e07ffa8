// Package ledger is what the cluster managers durably remember: the contract
// of their store, the records kept in it, and the scribe that writes decisions
// to it, many at a time. It decides nothing. It knows no etcd and no network.
package ledger
