// Package picker chooses which replica answers a read that needs no leader, and
// when a second one is asked, too. It knows what a route says of the replicas and
// what came of the reads that were sent to them; it sends nothing and has no
// clock. A Picker and a Hedger have one owner each, who calls them one at a time.
package picker
