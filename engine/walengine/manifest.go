package walengine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk"
	"github.com/pinetree-db/pinetree/engine/walengine/files"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// A .group file. See the package comment.
const (
	groupHeaderBytes = 48
	groupVersion     = 1
	maxGroupBytes    = 64 << 20
)

var groupMagic = [8]byte{'P', 'T', 'W', 'A', 'L', 'G', 'R', 'P'}

// origin is what a generation began with.
type origin struct {
	bound    pinetree.GroupID
	start    frames.Offset
	position pinetree.Position
}

func encodeOrigin(l life, o origin) ([]byte, error) {
	position, err := storepb.EncodePosition(o.position)
	if err != nil {
		return nil, fmt.Errorf("position of group %d: %w", l.group, err)
	}
	b := append(make([]byte, groupHeaderBytes), position...)
	copy(b, groupMagic[:])
	le := binary.LittleEndian
	le.PutUint32(b[8:], groupVersion)
	le.PutUint32(b[12:], l.generation)
	le.PutUint64(b[16:], uint64(l.group))
	le.PutUint64(b[24:], uint64(o.bound))
	le.PutUint64(b[32:], uint64(o.start))
	le.PutUint32(b[40:], uint32(len(position)))
	le.PutUint32(b[44:], originChecksum(b))
	return b, nil
}

func originChecksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:44], storepb.Castagnoli), storepb.Castagnoli, b[groupHeaderBytes:])
}

// decodeOrigin reads what encodeOrigin made for that generation.
func decodeOrigin(l life, b []byte) (o origin, err error) {
	refuse := func(format string, args ...any) (origin, error) {
		return o, &pinetree.CorruptError{Where: l.groupName(), What: fmt.Sprintf(format, args...) + "; restore the file, or give this replica up and add a new one"}
	}
	le := binary.LittleEndian
	switch {
	case len(b) < groupHeaderBytes:
		return refuse("%d bytes, less than a header", len(b))
	case !bytes.Equal(b[:8], groupMagic[:]):
		return refuse("not a group's file: the magic is wrong")
	case le.Uint32(b[44:]) != originChecksum(b):
		return refuse("CRC32C is %08x, should be %08x", originChecksum(b), le.Uint32(b[44:]))
	case le.Uint32(b[8:]) != groupVersion:
		return refuse("version %d, this build reads %d", le.Uint32(b[8:]), groupVersion)
	case le.Uint32(b[12:]) != l.generation || le.Uint64(b[16:]) != uint64(l.group):
		return refuse("it says group %d, generation %d; was the file renamed?", le.Uint64(b[16:]), le.Uint32(b[12:]))
	case int(le.Uint32(b[40:])) != len(b)-groupHeaderBytes || frames.Offset(le.Uint64(b[32:])) < 0:
		return refuse("it has %d bytes after the header, which says %d", len(b)-groupHeaderBytes, le.Uint32(b[40:]))
	}
	o.start, o.bound = frames.Offset(le.Uint64(b[32:])), pinetree.GroupID(le.Uint64(b[24:]))
	if o.position, err = storepb.DecodePosition(b[groupHeaderBytes:]); err != nil {
		return refuse("%v", err)
	}
	return o, nil
}

// writeOrigin writes all that publish needs to make a generation be there.
func writeOrigin(fs disk.FS, l life, o origin) error {
	b, err := encodeOrigin(l, o)
	if err != nil {
		return err
	}
	return writeFile(fs, l.groupName()+newSuffix, b)
}

// publish makes a generation be there, durably. After an error it may be there
// or not when the store is opened again.
func publish(fs disk.FS, l life) error {
	name := l.groupName()
	if err := fs.Rename(name+newSuffix, name); err != nil {
		return fmt.Errorf("rename %s: %w", name+newSuffix, err)
	}
	if err := fs.SyncDir(); err != nil {
		return fmt.Errorf("sync the directory of the wal engine: %w", err)
	}
	return nil
}

// writeFile makes a file, synced.
func writeFile(fs disk.FS, name string, b []byte) error {
	f, err := fs.Create(name)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if err = f.WriteParts([][]byte{b}, 0); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func readOrigin(fs disk.FS, l life) (origin, error) {
	name := l.groupName()
	f, err := fs.Open(name)
	if err != nil {
		return origin{}, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return origin{}, fmt.Errorf("size of %s: %w", name, err)
	}
	w := files.Window{File: f, Limit: min(size, maxGroupBytes)}
	b, err := w.Bytes(0, maxGroupBytes)
	if err != nil {
		return origin{}, fmt.Errorf("read %s: %w", name, err)
	}
	return decodeOrigin(l, bytes.Clone(b))
}
