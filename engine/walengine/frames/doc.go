// Package frames is the format of the files of a log: their header, and the
// frames after it. It knows how to write, read and check them and what a crash
// may leave of one; it knows no position and replays nothing. The tables are in
// the comment of package walengine.
package frames
