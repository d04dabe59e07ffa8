package walengine_test

import (
	"fmt"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// chain makes batches of one record that follow on each other. Only the header
// and the checksum are made anew for each.
type chain struct {
	t        testing.TB
	position pinetree.Position
	payload  []byte
}

func newChain(t testing.TB, size int) *chain {
	c := &chain{t: t, payload: make([]byte, size)}
	for i := range c.payload {
		c.payload[i] = byte(i*7 + i>>8)
	}
	c.position.Volumes = map[pinetree.VolumeID]pinetree.VolumePosition{
		1: {Format: pinetree.FormatOpaque, Terms: []pinetree.TermStart{{Term: 1}}},
	}
	return c
}

func (c *chain) next() engine.Write {
	v := c.position.Volumes[1]
	b, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{Prev: v.LSN, LSN: v.LSN + pinetree.LSN(len(c.payload)), Payload: c.payload}})
	if err != nil {
		c.t.Fatal(err)
	}
	v.LSN = b.LSN
	c.position = c.position.Clone()
	c.position.Index++
	c.position.Volumes[1] = v
	return engine.Write{Position: c.position, Batches: []pinetree.Batch{b}}
}

func openNew(t testing.TB, dir string, o walengine.Options) (*walengine.Store, engine.Engine) {
	t.Helper()
	s, err := walengine.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(1, pinetree.Position{}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	return s, e
}

// BenchmarkApply writes into the page cache. Expected: a copy into the page
// cache and its pages at about 2 GB/s, and 5 µs for the system call, the
// position and the frame.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, e := openNew(b, b.TempDir(), walengine.Options{})
			c := newChain(b, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				w := c.next()
				b.StartTimer()
				if err := e.Apply(w); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkLog reads 64 MiB back. Expected: a copy out of the page cache at
// 5 GB/s and a checksum at 10 GB/s.
func BenchmarkLog(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, e := openNew(b, b.TempDir(), walengine.Options{FileBytes: 16 << 20})
			c := newChain(b, size)
			for range (64 << 20) / size {
				if err := e.Apply(c.next()); err != nil {
					b.Fatal(err)
				}
			}
			v, err := e.Volume(1)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(64 << 20)
			b.ReportAllocs()
			for b.Loop() {
				if err := v.Log(0, func(pinetree.Batch) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkTail reads the last batch, as one who follows the log does.
func BenchmarkTail(b *testing.B) {
	s, e := openNew(b, b.TempDir(), walengine.Options{})
	c := newChain(b, 4<<10)
	for range 10_000 {
		if err := e.Apply(c.next()); err != nil {
			b.Fatal(err)
		}
	}
	v, err := e.Volume(1)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := v.Log(c.position.Volumes[1].LSN-1, func(pinetree.Batch) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
