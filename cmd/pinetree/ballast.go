package main

import "os"

// ballastBytes is by how much a node's heap seems larger to Go's garbage collector.
const ballastBytes = 64 << 20

// newBallast is memory for a node to hold and never to touch, so that it takes
// addresses and nothing else.
//
// The collector begins when the heap has grown by as much as was alive after it last
// ran. That is some ten megabytes in a node, whose log may come in at 200 MB/s: it ran
// dozens of times a second. With ballast it begins after 64 MiB more. Whoever has tuned
// it (GOGC, GOMEMLIMIT) gets none. See DECISIONS.md, "Nodes collect garbage less often".
func newBallast() []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, ballastBytes)
}
