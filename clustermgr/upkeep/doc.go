// Package upkeep is what the cluster manager decides by when it looks at the
// whole cluster rather than at one group: which leaders are to move away from
// where they are, which replicas are to be replaced or to be elsewhere, and what
// would be lost if a node stopped. It is pure: a snapshot of the cluster comes
// in, with durations instead of instants, and what to do next goes out, with the
// reason. What is under way is part of the snapshot, so that each decision is a
// next step and nothing has to be remembered between two. It knows no network and
// no store.
package upkeep
