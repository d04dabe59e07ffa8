package pgwal

import (
	"testing"

	"github.com/pinetree-db/pinetree"
)

// BenchmarkWalk reads and checks the large sample, in the page cache, and hands
// out its payloads. Estimate: 64 MiB in 180,675 records of 300 bytes; CRC32C of
// small pieces at 2 GB/s, reading at 5 GB/s into fresh memory, and 150 ns a
// record for the rest make 27 + 13 + 27 ms: 1 GB/s.
func BenchmarkWalk(b *testing.B) {
	folder := large(b)
	for b.Loop() {
		w, err := walk(b, Paths(folder), 0, func(pinetree.Record) {})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(w.Counts().Bytes)
	}
}
