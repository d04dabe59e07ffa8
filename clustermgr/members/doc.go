// Package members carries out what was decided about the replicas of a group:
// that one is added, removed or replaced, that the files of a former one go, that
// a group goes altogether. It takes one step at a time, each of which follows
// from what the group's leader says, so that whoever takes over goes on there. It
// knows no clock and decides nothing: that is in package policy, and when a step
// is due is for its user to know.
package members
