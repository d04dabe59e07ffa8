// Package load puts one of two loads on a system and measures it. A closed loop
// has workers with one record outstanding each; a stream has one writer that
// appends as fast as a window of unacknowledged bytes lets it. What system that
// is, a Client knows.
package load
