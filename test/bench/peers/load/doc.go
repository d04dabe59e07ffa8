// Package load puts one load on a system and measures it. A closed loop has workers
// with one record outstanding each; a stream has one writer that appends as fast as
// a window of unacknowledged bytes lets it; reads are workers that read one value
// after the other. What system that is, a Client or a Reader knows.
package load
