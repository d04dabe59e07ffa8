package ship

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// Napkin: a record of 1 KiB is copied into its batch, into the message and into
// the socket, and checksummed once, each at some 5 to 10 GB/s: under 1 µs. The
// server of the test reads, checks and keeps it in the same process, about as
// much again. So some 500,000 records/s of bulk on two cores, if batches are
// large enough to make everything else vanish.
func BenchmarkBulk(b *testing.B) {
	for _, size := range []int{128, 1024, 16384} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			writer := newWorld(b).open(WriterConfig{})
			ctx, payload, at := within(b), bytes.Repeat([]byte("x"), size), pinetree.LSN(0)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				r := pinetree.Record{Prev: at, LSN: at + pinetree.LSN(size), Payload: payload}
				if at = r.LSN; writer.Append(ctx, r) != nil {
					b.Fatal(writer.Err())
				}
			}
			must(b, writer.Flush(ctx))
		})
	}
}

// BenchmarkClosedLoop has 256 callers that each append a record of 1 KiB and
// wait until it is durable, at a storage side that takes no time.
func BenchmarkClosedLoop(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			writer := newWorld(b).open(WriterConfig{})
			ctx, payload := within(b), make([]byte, 1024)
			var mu sync.Mutex
			at, left := pinetree.LSN(0), b.N
			var waits []time.Duration
			var running sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				running.Go(func() {
					for {
						mu.Lock()
						if left--; left < 0 {
							mu.Unlock()
							return
						}
						r := pinetree.Record{Prev: at, LSN: at + 1024, Payload: payload}
						at = r.LSN
						began := time.Now()
						err := writer.Append(ctx, r)
						mu.Unlock()
						if err == nil {
							err = writer.WaitDurable(ctx, r.LSN)
						}
						if err != nil {
							b.Error(err)
							return
						}
						took := time.Since(began)
						mu.Lock()
						waits = append(waits, took)
						mu.Unlock()
					}
				})
			}
			running.Wait()
			b.StopTimer()
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-µs")
		})
	}
}
