package frames

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// File is what a file's header says.
type File struct {
	Group      pinetree.GroupID
	Bound      pinetree.GroupID // see Place
	Generation uint32
	Base       Offset // of the first frame
}

// Header is the first bytes of a file.
func (f File) Header() []byte {
	b := make([]byte, FileHeaderBytes)
	copy(b, fileMagic[:])
	le := binary.LittleEndian
	le.PutUint32(b[8:], fileVersion)
	le.PutUint32(b[12:], f.Generation)
	le.PutUint64(b[16:], uint64(f.Group))
	le.PutUint64(b[24:], uint64(f.Bound))
	le.PutUint64(b[32:], uint64(f.Base))
	le.PutUint32(b[60:], crc32.Checksum(b[:60], storepb.Castagnoli))
	return b
}

// ReadFile decodes a file's header. What is wrong with it is told in words.
func ReadFile(data []byte) (f File, wrong string) {
	le := binary.LittleEndian
	switch {
	case len(data) < FileHeaderBytes:
		return f, fmt.Sprintf("%d bytes, less than a file header", len(data))
	case !bytes.Equal(data[:8], fileMagic[:]):
		return f, "not a file of a log: the magic is wrong"
	case le.Uint32(data[60:]) != crc32.Checksum(data[:60], storepb.Castagnoli):
		return f, "file header fails its checksum"
	case le.Uint32(data[8:]) != fileVersion:
		return f, fmt.Sprintf("version %d, this build reads %d", le.Uint32(data[8:]), fileVersion)
	}
	f = File{
		Generation: le.Uint32(data[12:]), Group: pinetree.GroupID(le.Uint64(data[16:])),
		Bound: pinetree.GroupID(le.Uint64(data[24:])), Base: Offset(le.Uint64(data[32:])),
	}
	if f.Base < 0 || !bytes.Equal(f.Header(), data[:FileHeaderBytes]) {
		return f, "its header has bytes that this build does not know"
	}
	return f, ""
}

// Check tells what is wrong with the header that a file has, or "".
func (f File) Check(data []byte) string {
	got, wrong := ReadFile(data)
	if wrong == "" && got != f {
		wrong = fmt.Sprintf("its header says group %d, bound to %d, generation %d, offset %d; was the file renamed?", got.Group, got.Bound, got.Generation, got.Base)
	}
	return wrong
}

// HeaderTorn tells whether the file's header may be what a crash left of it.
func HeaderTorn(data []byte) bool {
	return len(data) < FileHeaderBytes || bytes.Equal(data[:FileHeaderBytes], emptySector[:FileHeaderBytes])
}
