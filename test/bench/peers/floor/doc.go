// Package floor is the least that a replicated log can be: a leader writes and
// fdatasyncs beside sending to two followers over raw TCP, which do the same
// and answer; two of three make a quorum. There is no raft, no term, no
// checksum, no catching up and no recovery, so that nobody would want to use
// it. What it reaches is what disk and network of a machine allow.
//
// Each server writes into a file that was filled with zeros before, at whose
// end it begins again: as segments that are used anew, without the changes of
// metadata that a growing file costs.
package floor
