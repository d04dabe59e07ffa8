// Package policy is what the cluster manager decides by: where the replicas of
// a group are placed, whether a node lives, what a group needs, and whom to
// appoint. It is pure: the state of the cluster and the time come in, a
// decision with its reason goes out. It knows no network and no store.
package policy
