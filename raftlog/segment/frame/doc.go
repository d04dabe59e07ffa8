// Package frame is the format of the segments of a raft log: what a batch of
// changes looks like in a file, and what of a file's contents are frames. It
// knows bytes; it knows no file, and not what the changes add up to. The tables
// are in the package comment of segment.
package frame
