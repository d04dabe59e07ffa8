package lsm

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// cpu is the processors' time that the process has used.
func cpu(b testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkApplyOpaque applies a log of batches of a size, one to 16 in a write,
// and reports the processors' time for all of it, making the batches and
// badger's background work included.
//
// Napkin: a batch is copied when it is made, into a chunk with its checksum,
// into badger's buffer with another, and into the mapped value log, whose pages
// are touched for the first time: 0.1 + 0.25 + 0.25 + 0.5 ms per MiB: 900 MB per
// second of a processor. A small write: 15 µs for the transaction.
//
// Measured: 4 KiB batches 25 µs each, 13 µs when 16 share a write; 64 KiB 400
// to 560 MB per processor second, 1 MiB 640. With synchronous transactions and
// all values in the tables it was 306 µs, 55 µs, 78 to 133 and 102.
func BenchmarkApplyOpaque(b *testing.B) { onEachB(b, benchmarkApplyOpaque) }

func benchmarkApplyOpaque(b *testing.B, k kind) {
	for _, c := range []struct{ size, perWrite int }{{4 << 10, 1}, {4 << 10, 16}, {64 << 10, 1}, {64 << 10, 16}, {1 << 20, 1}} {
		b.Run(fmt.Sprintf("%dKiBx%d", c.size>>10, c.perWrite), func(b *testing.B) {
			s := k.openUsual(b)
			g := openGroup(b, s)
			payload := make([]byte, c.size-64)
			var lsn pinetree.LSN
			b.SetBytes(int64(c.size * c.perWrite))
			start := cpu(b)
			index := pinetree.RaftIndex(0)
			for b.Loop() {
				w := engine.Write{}
				for range c.perWrite {
					batch, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{Prev: lsn, LSN: lsn + 100, Payload: payload}})
					if err != nil {
						b.Fatal(err)
					}
					w.Batches = append(w.Batches, batch)
					lsn += 100
				}
				index++
				w.Position = pinetree.Position{Index: index, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: lsn, Format: pinetree.FormatOpaque}}}
				if err := g.Apply(w); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			used := cpu(b) - start
			b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-us/op")
			b.ReportMetric(float64(c.size*c.perWrite)*float64(b.N)/1e6/used.Seconds(), "MB/cpu-s")
		})
	}
}
