package fanout

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// BenchmarkLiveTails commits batches of 1 KiB one after the other for tails whose
// clients take no time. What it costs who commits is a copy and two locks, so some
// microseconds however many tails there are.
func BenchmarkLiveTails(b *testing.B) {
	for _, count := range []int{0, 1, 1000} {
		b.Run(fmt.Sprintf("tails=%d", count), func(b *testing.B) {
			h := NewHub(DefaultLimits())
			defer h.Close()
			p := h.Replica()
			var end atomic.Uint64
			// Who falls behind is given all that it missed as one batch.
			log := func(_ context.Context, from pinetree.LSN, fn func(pinetree.Batch) error) (pinetree.VolumePosition, error) {
				to := pinetree.LSN(end.Load())
				return pinetree.VolumePosition{LSN: to}, fn(pinetree.Batch{Prev: from, LSN: to})
			}
			var all sync.WaitGroup
			for range count {
				t, err := p.Open(1, 0)
				if err != nil {
					b.Fatal(err)
				}
				all.Go(func() {
					defer t.Close()
					_ = t.Run(context.Background(), Query{Follow: true}, log, func(*wirepb.OutgoingTail) error { return nil })
				})
			}
			time.Sleep(20 * time.Millisecond)
			var j journal
			batch := j.add(1, 1000)
			b.SetBytes(int64(batch.Size()))
			b.ReportAllocs()
			for b.Loop() {
				p.Committed([]pinetree.Batch{batch})
				p.Applied(pinetree.Position{Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: batch.LSN}}})
				end.Store(uint64(batch.LSN))
				batch.Prev, batch.LSN = batch.LSN, batch.LSN+1
			}
			b.StopTimer()
			p.Stop()
			all.Wait()
		})
	}
}
