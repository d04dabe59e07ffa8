package lsm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// patching applies patches of page 1, an image of 8 KiB, each a record, as many
// in a batch and a write as they say, and others of other pages beside them.
type patching struct {
	patches, patchBytes, perBatch int
}

func (c patching) apply(b *testing.B, g *group) (lsns []pinetree.LSN, written int64) {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	var lsn pinetree.LSN
	var records []pinetree.Record
	add := func(op *storepb.RedoOp) {
		payload, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{op}})
		if err != nil {
			b.Fatal(err)
		}
		records = append(records, pinetree.Record{Prev: lsn, LSN: lsn + 300, Payload: payload})
		lsn += 300
	}
	for page := range uint64(16) {
		add(&storepb.RedoOp{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: page, Image: make([]byte, 8192)}}})
	}
	data := make([]byte, c.patchBytes)
	index := pinetree.RaftIndex(0)
	for len(lsns) < c.patches {
		for range c.perBatch {
			for i := range data {
				data[i] = byte(random.Uint32())
			}
			page := random.Uint64N(16)
			add(&storepb.RedoOp{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: page, Offset: uint32(random.IntN(8193 - c.patchBytes)), Bytes: data}}})
			if page == 1 {
				lsns = append(lsns, lsn)
			}
		}
		batch, err := storepb.EncodeBatch(1, 1, records)
		if err != nil {
			b.Fatal(err)
		}
		written += int64(batch.Size())
		records, index = nil, index+1
		err = g.Apply(engine.Write{Batches: []pinetree.Batch{batch}, Position: pinetree.Position{
			Index: index, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: lsn, Format: pinetree.FormatRedo}},
		}})
		if err != nil {
			b.Fatal(err)
		}
	}
	return lsns, written
}

// BenchmarkPageBack reads a page of 20,000 patches at its newest 2,000 LSNs and at
// 2,000 around the one 10,000 patches back, in turn, and reports the medians and
// their ratio, which is to be 3 at most.
func BenchmarkPageBack(b *testing.B) { onEachB(b, benchmarkPageBack) }

func benchmarkPageBack(b *testing.B, k kind) {
	for _, c := range []patching{{20000, 64, 1}, {20000, 64, 64}, {20000, 256, 64}, {20000, 2048, 64}} {
		b.Run(fmt.Sprintf("%d bytes, %d in a batch", c.patchBytes, c.perBatch), func(b *testing.B) {
			s := k.open(b, b.TempDir())
			g := openGroup(b, s)
			lsns, _ := c.apply(b, g)
			flush(b, g)
			r, err := g.Volume(1)
			if err != nil {
				b.Fatal(err)
			}
			last := len(lsns) - 1
			newest, back := &timed{b: b, r: r}, &timed{b: b, r: r}
			for i := 0; b.Loop(); i = (i + 7) % 2000 {
				newest.read(lsns[last-i])
				back.read(lsns[last-10000-i])
			}
			b.ReportMetric(newest.quantile(0.5), "newest-p50-us")
			b.ReportMetric(newest.quantile(0.99), "newest-p99-us")
			b.ReportMetric(back.quantile(0.5), "back-p50-us")
			b.ReportMetric(back.quantile(0.99), "back-p99-us")
			b.ReportMetric(back.quantile(0.5)/newest.quantile(0.5), "ratio")
		})
	}
}

// timed keeps how long reads of page 1 took.
type timed struct {
	b     *testing.B
	r     engine.Reader
	times []time.Duration
}

func (t *timed) read(at pinetree.LSN) {
	start := time.Now()
	read, err := t.r.Page(1, at)
	t.times = append(t.times, time.Since(start))
	if err != nil || len(read.Page) != 8192 || read.PageLSN != at {
		t.b.Fatalf("page of %s, %d bytes, %v, want the one of %s", read.PageLSN, len(read.Page), err, at)
	}
}

func (t *timed) quantile(q float64) float64 {
	slices.Sort(t.times)
	return float64(t.times[int(q*float64(len(t.times)-1))].Nanoseconds()) / 1000
}
