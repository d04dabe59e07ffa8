// Package walk visits every state that two nodes which may lead a group, and two
// managers of which the second takes over from the first, can reach within a few
// ticks of their clocks, appointments and raft terms. The halves of the lease and
// the policy that appoints are the real ones; raft, etcd and the messages are
// steps that come in every possible order, late or never. So it is to the code
// what the specification beside package lease is to the protocol, and looks at the
// same properties, and at one more: from every state, once nothing goes wrong any
// more, the group gets a leader that holds the lease.
package walk
