package segment_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

// shapes are the batches that are measured.
var shapes = []struct{ batch, bytes int }{
	{1, 128}, {16, 128}, {128, 128},
	{1, 1 << 10}, {16, 1 << 10}, {128, 1 << 10},
	{1, 16 << 10}, {16, 16 << 10}, {128, 16 << 10},
	{1, 256 << 10}, {1, 1 << 20},
}

// BenchmarkSave saves batches of entries, each with one sync, into segments
// that were used before; BenchmarkRaw writes as many bytes into a file that
// is filled with zeroes, which is the best that could be.
//
// Napkin: a sync takes what it takes, 80 us and more here, whatever the size,
// and the disk 1 to 1.5 us for each KiB; the rest is 5 us for the write, and
// for each KiB 0.1 us to copy it, 0.07 us to sum it up and 0.1 us for the page
// cache. Of a batch of 128 entries of 1 KiB, that is 35 of 250 us.
func BenchmarkSave(b *testing.B) {
	for _, c := range shapes {
		b.Run(fmt.Sprintf("batch=%d/bytes=%d", c.batch, c.bytes), func(b *testing.B) {
			s, err := segment.Open(b.TempDir(), segment.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			r := saver{b: b, store: s, next: 1, batch: c.batch, bytes: c.bytes}
			r.reuse()
			before := written(b)
			b.SetBytes(int64(c.batch * c.bytes))
			b.ReportAllocs()
			for b.Loop() {
				r.save()
			}
			b.StopTimer()
			b.ReportMetric(float64(c.batch*b.N)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric((written(b)-before)/float64(c.batch*c.bytes)/float64(b.N), "written/payload")
		})
	}
}

// saver saves batches and compacts what is old. It makes entries as raft
// does, in memory that is not used again while the store may have it.
type saver struct {
	b            *testing.B
	store        *segment.Store
	next         uint64
	batch, bytes int
	ring         []made
	at           int
}

type made struct {
	entry       raftpb.Entry
	index, term uint64
}

func (r *saver) save() {
	if r.ring == nil {
		r.ring = make([]made, max(2*segment.DefaultCacheBytes/max(r.bytes, 1<<10), 4*r.batch))
		data := make([]byte, r.bytes)
		for i := range data {
			data[i] = byte(i*i>>3) | 1
		}
		for i := range r.ring {
			m := &r.ring[i]
			m.term = 1
			m.entry.Index, m.entry.Term, m.entry.Data = &m.index, &m.term, data
		}
	}
	entries := make([]*raftpb.Entry, r.batch)
	for i := range entries {
		m := &r.ring[r.at%len(r.ring)]
		m.index = r.next
		entries[i] = &m.entry
		r.at, r.next = r.at+1, r.next+1
	}
	if err := r.store.Save([]raftlog.Update{{Group: 1, Entries: entries, MustSync: true}}); err != nil {
		r.b.Fatal(err)
	}
	if keep := uint64(40<<20/r.bytes) + uint64(r.batch); r.next%16 == 1 && r.next > keep {
		if err := r.store.Compact(1, pinetree.RaftIndex(r.next-keep)); err != nil {
			r.b.Fatal(err)
		}
	}
}

// reuse saves until segments come round.
func (r *saver) reuse() {
	batch, bytes, ring := r.batch, r.bytes, r.ring
	r.batch, r.bytes = 16, 64<<10
	for r.store.Stats().Oldest < "0000000000000004" {
		r.save()
	}
	if err := r.store.Compact(1, pinetree.RaftIndex(r.next-1)); err != nil {
		r.b.Fatal(err)
	}
	r.batch, r.bytes, r.ring = batch, bytes, ring
	r.store.Settle()
}

// written is how many bytes have gone to the disk with the temporary
// directory, of whatever process; zero when that is no disk.
func written(b *testing.B) (bytes float64) {
	info, err := os.Stat(os.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	device := info.Sys().(*syscall.Stat_t).Dev
	data, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if fields[0] == fmt.Sprint(unix.Major(device)) && fields[1] == fmt.Sprint(unix.Minor(device)) {
			sectors, err := strconv.ParseFloat(fields[9], 64)
			if err != nil {
				b.Fatal(err)
			}
			return 512 * sectors
		}
	}
	return 0
}

func BenchmarkRaw(b *testing.B) {
	for _, c := range shapes {
		b.Run(fmt.Sprintf("batch=%d/bytes=%d", c.batch, c.bytes), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			const size = 64 << 20
			if _, err := f.Write(make([]byte, size)); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			data := make([]byte, c.batch*c.bytes)
			for i := range data {
				data[i] = byte(i) | 1
			}
			b.SetBytes(int64(len(data)))
			at := 0
			before := written(b)
			for b.Loop() {
				if at+len(data) > size {
					at = 0
				}
				if _, err := f.WriteAt(data, int64(at)); err != nil {
					b.Fatal(err)
				}
				at += len(data)
				if err := syscall.Fdatasync(int(f.Fd())); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(c.batch*b.N)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric((written(b)-before)/float64(c.batch*c.bytes)/float64(b.N), "written/payload")
		})
	}
}

// BenchmarkOpen recovers one full segment of 64 MiB.
//
// Napkin: 64 MiB from the page cache at 5 GB/s, one checksum at 10 GB/s,
// 64,000 table lines at 0.1 us: 30 ms.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s, err := segment.Open(dir, segment.Options{})
	if err != nil {
		b.Fatal(err)
	}
	made := entries(1, 60_000, 1024)
	for i := 0; i < len(made); i += 100 {
		if err := s.Save([]raftlog.Update{{Group: 1, Entries: made[i : i+100]}}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		if s, err = segment.Open(dir, segment.Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	wantEntries(b, s, 1, 1, len(made))
	s.Close()
}
