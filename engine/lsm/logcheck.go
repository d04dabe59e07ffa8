package lsm

import (
	"encoding/binary"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// dataKeyAt is what the key of a chunk says, the generation left out.
type dataKeyAt struct {
	volume pinetree.VolumeID
	kind   byte
	lsn    pinetree.LSN
	chunk  byte
}

// parseDataKey reads a key after its generation.
func parseDataKey(key []byte) (dataKeyAt, error) {
	const least = 8 + 1 + versionBytes + chunkBytes
	if len(key) < least {
		return dataKeyAt{}, badChunk(key, "%d bytes after the generation, at least %d are needed", len(key), least)
	}
	end := len(key) - chunkBytes
	at := dataKeyAt{
		volume: pinetree.VolumeID(binary.BigEndian.Uint64(key)), kind: key[8], chunk: key[end],
		lsn: pinetree.LSN(binary.BigEndian.Uint64(key[end-versionBytes:])),
	}
	switch {
	case at.kind == logKind && len(key) == least:
	case at.kind == pageKind && len(key) == least+8, at.kind == keyKind:
		at.lsn = ^at.lsn
	case at.kind == metaKind && at.volume == 0:
	default:
		return at, badChunk(key, "not the key of a batch, a page, a key or metadata")
	}
	return at, nil
}

// logCheck sees the entries of a generation in the order of their keys, on the
// side that sends a snapshot and on the one that takes it, and finds a hole in
// the log of a volume. No checksum can: a key that is missing has none.
type logCheck struct {
	position pinetree.Position
	ends     map[pinetree.VolumeID]pinetree.LSN // of the logs seen so far
	last     dataKeyAt                          // of the log
	chunks   byte                               // of the batch that last is of
}

func newLogCheck(at pinetree.Position) *logCheck {
	return &logCheck{position: at, ends: map[pinetree.VolumeID]pinetree.LSN{}}
}

// see takes the next entry: a value's chunk without its checksum.
func (c *logCheck) see(at dataKeyAt, body []byte) error {
	if at.kind != logKind {
		return nil
	}
	if at.chunk > 0 {
		if c.last.volume != at.volume || c.last.lsn != at.lsn || c.last.chunk+1 != at.chunk {
			return c.hole(at.volume, "chunk %d of batch %s comes after chunk %d of batch %s", at.chunk, at.lsn, c.last.chunk, c.last.lsn)
		}
		c.last = at
		return nil
	}
	if err := c.whole(); err != nil {
		return err
	}
	b, _, err := storepb.PeekHeader(body[min(1, len(body)):])
	if err != nil {
		return err
	}
	if b.Volume != at.volume || b.LSN != at.lsn {
		return c.hole(at.volume, "batch (%s, %s] of volume %d is where batch %s should be", b.Prev, b.LSN, b.Volume, at.lsn)
	}
	v := c.position.Volumes[at.volume]
	end, begun := c.ends[at.volume]
	// Only the first batch may begin below what is kept.
	if begun && b.Prev != end || !begun && b.Prev > max(v.Base, v.Truncated) {
		return c.hole(at.volume, "batch (%s, %s] comes after %s", b.Prev, at.lsn, max(end, v.Base, v.Truncated))
	}
	c.ends[at.volume], c.last, c.chunks = at.lsn, at, body[0]
	return nil
}

// whole checks that the last batch has all its chunks.
func (c *logCheck) whole() error {
	if c.chunks > 0 && c.last.chunk+1 != c.chunks {
		return c.hole(c.last.volume, "batch %s has chunks up to %d of %d", c.last.lsn, c.last.chunk, c.chunks)
	}
	return nil
}

// end checks that each log ends where the position says.
func (c *logCheck) end() error {
	if err := c.whole(); err != nil {
		return err
	}
	for id, v := range c.position.Volumes {
		if end := max(c.ends[id], v.Base, v.Truncated); end != v.LSN {
			return c.hole(id, "it ends at %s, the position says %s", end, v.LSN)
		}
	}
	return nil
}

func (c *logCheck) hole(id pinetree.VolumeID, format string, args ...any) error {
	return &pinetree.CorruptError{Where: fmt.Sprintf("snapshot at index %d, log of volume %d", c.position.Index, id), What: fmt.Sprintf(format, args...)}
}
