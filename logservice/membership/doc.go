// Package membership plans changes of who is in a group: learners that are
// added, learners that become voters, replicas that are removed, or all of it in
// one joint change. It knows raft's configurations and what may become of one;
// it knows no log, no network and no time.
package membership
