package lsm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// patchBatches makes batches of about 64 KiB of 256-byte patches of random
// 8 KiB pages, each a record.
func patchBatches(b *testing.B, pages uint64, count int) []pinetree.Batch {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	data := make([]byte, 256)
	var batches []pinetree.Batch
	var lsn pinetree.LSN
	for range count {
		var records []pinetree.Record
		for range (64 << 10) / 280 {
			for i := range data {
				data[i] = byte(random.Uint32())
			}
			payload, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{
				Page: random.Uint64N(pages), Offset: uint32(random.IntN(8192 - 256)), Bytes: data,
			}}}}})
			if err != nil {
				b.Fatal(err)
			}
			records = append(records, pinetree.Record{Prev: lsn, LSN: lsn + 300, Payload: payload})
			lsn += 300
		}
		batch, err := storepb.EncodeBatch(1, 1, records)
		if err != nil {
			b.Fatal(err)
		}
		batches = append(batches, batch)
	}
	return batches
}

// BenchmarkReplay replays 256-byte patches in 64 KiB batches, 16 batches per
// write: of pages that are hit often, of pages that are hit once per batch,
// and as log alone.
//
// Napkin, cold pages: a patch becomes a badger entry of about 330 bytes (37 of
// key, 8 of version, 265 of value, headers), and once more the log: 2.3 bytes
// are written per byte of log, and again when the memtable is flushed and for
// each level that compaction takes them down. An entry costs about 1.5 µs in
// the transaction's map, the WAL and the skip list; 3,700 of them are 1 MiB:
// 5.5 ms. 1/64 of the patches read a page, 60 changes of a chain at 0.5 µs:
// 2 ms. Flushing and compacting on the other core. So about 8 ms per MiB:
// 130 MB/s. Hot pages: a tenth of the entries, 200 MB/s. Log alone: three
// copies and two checksums, 1.5 ms: 700 MB/s.
//
// Measured on two shared cores, where flushing and compacting take their part
// of them: 34, 137 and 475 to 1,000 MB/s. What the napkin forgot is page faults:
// each page of a new WAL or table is first touched through a mapping.
func BenchmarkReplay(b *testing.B) { onEachB(b, benchmarkReplay) }

func benchmarkReplay(b *testing.B, k kind) {
	const perWrite, writes = 16, 64
	for _, c := range []struct {
		name   string
		pages  uint64
		format pinetree.Format
	}{{"cold", 4096, pinetree.FormatRedo}, {"hot", 16, pinetree.FormatRedo}, {"opaque", 4096, pinetree.FormatOpaque}} {
		batches := patchBatches(b, c.pages, perWrite*writes)
		b.Run(c.name, func(b *testing.B) {
			var bytes int64
			for _, batch := range batches {
				bytes += int64(batch.Size())
			}
			b.SetBytes(bytes)
			for b.Loop() {
				b.StopTimer()
				s := k.openUsual(b)
				g := openGroup(b, s)
				b.StartTimer()
				for i := 0; i < len(batches); i += perWrite {
					err := g.Apply(engine.Write{Batches: batches[i : i+perWrite], Position: pinetree.Position{
						Index:   pinetree.RaftIndex(i + perWrite),
						Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: batches[i+perWrite-1].LSN, Format: c.format}},
					}})
					if err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkPage reads random pages of a volume like the one above.
//
// Napkin: an iterator over two memtables and a few tables, 5 µs; a chain of 64
// entries at 0.5 µs each: about 40 µs.
func BenchmarkPage(b *testing.B) { onEachB(b, benchmarkPage) }

func benchmarkPage(b *testing.B, k kind) {
	batches := patchBatches(b, 256, 256)
	s := k.open(b, b.TempDir())
	g := openGroup(b, s)
	for i, batch := range batches {
		err := g.Apply(engine.Write{Batches: []pinetree.Batch{batch}, Position: pinetree.Position{
			Index:   pinetree.RaftIndex(i + 1),
			Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: batch.LSN, Format: pinetree.FormatRedo}},
		}})
		if err != nil {
			b.Fatal(err)
		}
	}
	r, err := g.Volume(1)
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(2, 2))
	for b.Loop() {
		if _, err := r.Page(pinetree.PageNo(random.IntN(256)), 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGroups applies small writes in many groups side by side, as a node
// with many small volumes does.
//
// Napkin: a transaction of badger's passes two channels and a goroutine, 10 µs;
// two entries, 3 µs. One group alone: 70,000 writes/s. Of 64 groups those that
// wait go into one transaction, so the rest counts: 200,000.
//
// Measured on two cores shared with others: 62,000 and 66,000 writes/s. It is
// the checks and the entry that count, not the transaction.
func BenchmarkGroups(b *testing.B) { onEachB(b, benchmarkGroups) }

func benchmarkGroups(b *testing.B, k kind) {
	for _, groups := range []int{1, 64} {
		b.Run(fmt.Sprint(groups), func(b *testing.B) {
			s := k.open(b, b.TempDir())
			engines := make(chan *group, groups)
			for i := range groups {
				id := pinetree.GroupID(i + 1)
				if err := s.Create(id, pinetree.Position{}); err != nil {
					b.Fatal(err)
				}
				e, err := s.Open(id)
				if err != nil {
					b.Fatal(err)
				}
				engines <- e.(*group)
			}
			b.SetParallelism(groups)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					g := <-engines
					at := g.Position()
					tail := at.Volumes[1].LSN
					batch, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{Prev: tail, LSN: tail + 100, Payload: make([]byte, 100)}})
					if err != nil {
						b.Error(err)
					}
					err = g.Apply(engine.Write{Batches: []pinetree.Batch{batch}, Position: pinetree.Position{
						Index:   at.Index + 1,
						Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: tail + 100, Format: pinetree.FormatOpaque}},
					}})
					if err != nil {
						b.Error(err)
					}
					engines <- g
				}
			})
		})
	}
}
