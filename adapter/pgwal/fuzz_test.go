package pgwal

import (
	"bytes"
	"errors"
	"testing"
	"testing/fstest"

	"github.com/pinetree-db/pinetree"
)

// FuzzDamagedSegments overwrites bytes anywhere in a log of three segments and
// cuts one of the files. Whatever comes of it, the walk ends, delivers the bytes
// that are in the files, and cuts the log in new ways only where it was changed.
func FuzzDamagedSegments(f *testing.F) {
	forged := newForge(0xD118, 1<<20)
	for i := range 20 {
		forged.record(100+700*i, 1, 0)
	}
	forged.switchSegment()
	for range 14 {
		forged.record(90_001, 1, 0)
		forged.record(999, 1, 0)
	}
	l := newWAL(f, forged.files())
	names := l.names(f)

	f.Add(uint32(0), []byte{}, uint8(0), uint32(1<<20), uint16(0))
	f.Add(uint32(16), []byte{200, 1}, uint8(0), uint32(1<<20), uint16(0))
	f.Add(uint32(2), []byte{7, 0}, uint8(1), uint32(8192), uint16(9))
	f.Add(uint32(1<<20), make([]byte, 100), uint8(2), uint32(1<<20), uint16(3))
	f.Add(uint32(2<<20-40), []byte{0, 0, 0, 64}, uint8(2), uint32(0), uint16(1))
	f.Add(uint32(8192+8), []byte{0, 0, 0, 0, 0, 0}, uint8(3), uint32(0), uint16(2))
	f.Fuzz(func(t *testing.T, offset uint32, patch []byte, file uint8, size uint32, from uint16) {
		changed := bytes.Clone(l.log)
		copy(changed[int(offset)%len(changed):], patch)
		files := fstest.MapFS{}
		for i, name := range names {
			data := changed[i<<20 : (i+1)<<20]
			if i == int(file) {
				data = data[:min(int(size), len(data))]
			}
			files[name] = &fstest.MapFile{Data: data}
		}
		begin := l.spans[int(from)%len(l.spans)].from
		_, err := walk(t, FS(files), begin, func(r pinetree.Record) {
			if !bytes.Equal(r.Payload, changed[r.Prev-l.base:r.LSN-l.base]) {
				t.Fatalf("record (%s, %s] has other bytes than the files", r.Prev, r.LSN)
			}
			untouched := bytes.Equal(r.Payload, l.bytes(r.Prev, r.LSN))
			if s := l.spanAfter(r.Prev); untouched && (s.from != r.Prev || s.to != r.LSN) && r.LSN%l.size != 0 {
				t.Fatalf("record (%s, %s], want (%s, %s]", r.Prev, r.LSN, s.from, s.to)
			}
		})
		if err != nil && !errors.Is(err, pinetree.ErrCorrupt) && !errors.Is(err, pinetree.ErrBadBatch) {
			t.Fatal(err)
		}
	})
}
