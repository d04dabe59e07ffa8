// Package meta is the metadata of one volume: a small transactional key space
// with revisions, and the rules by which transactions change it, which must give
// the same on every replica. It is pure: no goroutine, clock, network or file. It
// knows neither raft nor how any of it is stored.
//
// A Table never changes. Evaluate says what a transaction does to one, as a Delta;
// Advance makes the next Table, which shares with the one before all that stays.
// So a reader keeps one Table for as long as it likes while others go on.
//
// What is stored of a Table are its changes and memories, in any order, and the
// two revisions of its Delta: a Loader makes the Table of them.
package meta
