package raftlog

// Counter is implemented by stores that count what they write.
type Counter interface {
	// Written may be called by any goroutine at any time.
	Written() Written
}

// Written is what a store has given to its files since it was opened: headers,
// padding, zeroes written ahead and entries written anew all count. It is not
// what a process has written by the kernel's account, which may count whole
// pages, or runs of them, for a few changed bytes.
type Written struct {
	Bytes uint64
	// Syncs are the calls that made files or directories durable.
	Syncs uint64
}

// Keeper is implemented by stores that know what keeps their files from getting
// fewer.
type Keeper interface {
	// Kept is how many bytes the log's files have, and why the oldest of them is
	// not gone; empty when nothing keeps it. It may be called by any goroutine
	// at any time.
	Kept() (bytes int64, why string)
}
