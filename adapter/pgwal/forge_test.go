package pgwal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"
	"testing/fstest"

	"github.com/pinetree-db/pinetree"
)

// forge writes a log as PostgreSQL does, for what no sample has: other versions
// and segment sizes, huge records, records that end just where a page does.
type forge struct {
	id        identity
	timeline  uint32
	base      pinetree.LSN
	log       []byte
	lastStart pinetree.LSN
	records   int
}

func newForge(magic uint16, segmentBytes pinetree.LSN) *forge {
	return &forge{id: identity{magic: magic, system: 0x123456789, segmentBytes: segmentBytes}, timeline: 1, base: segmentBytes}
}

func (f *forge) pos() pinetree.LSN { return f.base + pinetree.LSN(len(f.log)) }

// page begins a page, on which so much of a record goes on.
func (f *forge) page(remaining int) {
	le := binary.LittleEndian
	var flags uint16
	if remaining > 0 {
		flags |= flagContinues
	}
	long := f.pos()%f.id.segmentBytes == 0
	if long {
		flags |= flagLong
	}
	pos := f.pos()
	f.log = le.AppendUint16(f.log, f.id.magic)
	f.log = le.AppendUint16(f.log, flags)
	f.log = le.AppendUint32(f.log, f.timeline)
	f.log = le.AppendUint64(f.log, uint64(pos))
	f.log = le.AppendUint32(f.log, uint32(remaining))
	f.log = le.AppendUint32(f.log, 0)
	if long {
		f.log = le.AppendUint64(f.log, f.id.system)
		f.log = le.AppendUint32(f.log, uint32(f.id.segmentBytes))
		f.log = le.AppendUint32(f.log, pageBytes)
	}
}

// record writes a record of so many bytes, of the resource manager and kind.
func (f *forge) record(size int, manager, kind byte) {
	body := make([]byte, size-recordHeaderBytes)
	for i := range body {
		body[i] = byte(i*7 + size)
	}
	f.write(body, manager, kind)
}

// tell writes the record that tells that the one at the position was broken off.
func (f *forge) tell(brokenOff pinetree.LSN) {
	body := binary.LittleEndian.AppendUint64([]byte{255, 16}, uint64(brokenOff))
	f.write(append(body, make([]byte, 8)...), 0, kindOverwrite)
}

func (f *forge) write(body []byte, manager, kind byte) {
	le := binary.LittleEndian
	rec := append(make([]byte, recordHeaderBytes), body...)
	le.PutUint32(rec, uint32(len(rec)))
	le.PutUint64(rec[8:], uint64(f.lastStart))
	rec[16], rec[17] = kind, manager
	sum := crc32.Update(crc32.Checksum(rec[recordHeaderBytes:], castagnoli), castagnoli, rec[:crcOffset])
	le.PutUint32(rec[crcOffset:], sum)
	if f.pos()%pageBytes == 0 {
		f.page(0)
	}
	f.lastStart = f.pos()
	for len(rec) > 0 {
		if f.pos()%pageBytes == 0 {
			f.page(len(rec))
		}
		n := min(len(rec), int(pageBytes-f.pos()%pageBytes))
		f.log = append(f.log, rec[:n]...)
		rec = rec[n:]
	}
	for f.pos()%8 != 0 {
		f.log = append(f.log, 0)
	}
	f.records++
}

// switchSegment writes a record that closes the segment.
func (f *forge) switchSegment() {
	f.record(recordHeaderBytes, 0, kindSwitch)
	for f.pos()%f.id.segmentBytes != 0 {
		f.log = append(f.log, 0)
	}
}

// fill writes one record, if it takes one, so that so many bytes are left on
// the page.
func (f *forge) fill(left int) {
	if f.pos()%pageBytes == 0 {
		f.record(recordHeaderBytes, 1, 0)
	}
	room := int(pageBytes-f.pos()%pageBytes) - left
	if room >= recordHeaderBytes {
		f.record(room, 1, 0)
	}
}

// files are the segments, the last one padded with zeroes.
func (f *forge) files() fstest.MapFS {
	files := fstest.MapFS{}
	for from := 0; from < len(f.log); from += int(f.id.segmentBytes) {
		data := make([]byte, f.id.segmentBytes)
		copy(data, f.log[from:])
		pos := f.base + pinetree.LSN(from)
		name := fmt.Sprintf("%08X%08X%08X", f.timeline, uint64(pos)>>32, uint64(uint32(pos))/uint64(f.id.segmentBytes))
		files[name] = &fstest.MapFile{Data: data}
	}
	return files
}

// walkForged walks the forged log and compares it with what was written.
func walkForged(t testing.TB, f *forge) *Walker {
	t.Helper()
	var got []byte
	w, err := walk(t, FS(f.files()), 0, func(r pinetree.Record) { got = append(got, r.Payload...) })
	if err != nil {
		t.Fatal(err)
	}
	if w.Counts().Records != f.records || w.End() != f.pos() || string(got) != string(f.log) {
		t.Fatalf("%+v up to %s; want %d records up to %s", w.Counts(), w.End(), f.records, f.pos())
	}
	return w
}
