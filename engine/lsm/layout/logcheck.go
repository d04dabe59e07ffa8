package layout

import (
	"encoding/binary"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// KeyParts is what the key of a chunk says, the generation left out.
type KeyParts struct {
	Volume pinetree.VolumeID
	Kind   byte
	LSN    pinetree.LSN
	chunk  byte
}

// ParseDataKey reads a key after its generation.
func ParseDataKey(key []byte) (KeyParts, error) {
	const least = 8 + 1 + versionBytes + ChunkBytes
	if len(key) < least {
		return KeyParts{}, BadChunk(key, "%d bytes after the generation, at least %d are needed", len(key), least)
	}
	end := len(key) - ChunkBytes
	at := KeyParts{
		Volume: pinetree.VolumeID(binary.BigEndian.Uint64(key)), Kind: key[8], chunk: key[end],
		LSN: pinetree.LSN(binary.BigEndian.Uint64(key[end-versionBytes:])),
	}
	switch {
	case at.Kind == LogKind && len(key) == least:
	case at.Kind == PageKind && len(key) == least+8, at.Kind == KeyKind:
		at.LSN = ^at.LSN
	case at.Kind == MetaKind && at.Volume == 0:
	default:
		return at, BadChunk(key, "not the key of a batch, a page, a key or metadata")
	}
	return at, nil
}

// LogCheck sees the entries of a generation in the order of their keys, on the
// side that sends a snapshot and on the one that takes it, and finds a hole in
// the log of a volume. No checksum can: a key that is missing has none.
type LogCheck struct {
	position pinetree.Position
	ends     map[pinetree.VolumeID]pinetree.LSN // of the logs seen so far
	last     KeyParts                           // of the log
	chunks   byte                               // of the batch that last is of
}

// NewLogCheck begins a check of a state at a position.
func NewLogCheck(at pinetree.Position) *LogCheck {
	return &LogCheck{position: at, ends: map[pinetree.VolumeID]pinetree.LSN{}}
}

// See takes the next entry: a value's chunk without its checksum.
func (c *LogCheck) See(at KeyParts, body []byte) error {
	if at.Kind != LogKind {
		return nil
	}
	if at.chunk > 0 {
		if c.last.Volume != at.Volume || c.last.LSN != at.LSN || c.last.chunk+1 != at.chunk {
			return c.hole(at.Volume, "chunk %d of batch %s comes after chunk %d of batch %s", at.chunk, at.LSN, c.last.chunk, c.last.LSN)
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
	if b.Volume != at.Volume || b.LSN != at.LSN {
		return c.hole(at.Volume, "batch (%s, %s] of volume %d is where batch %s should be", b.Prev, b.LSN, b.Volume, at.LSN)
	}
	v := c.position.Volumes[at.Volume]
	end, begun := c.ends[at.Volume]
	// Only the first batch may begin below what is kept.
	if begun && b.Prev != end || !begun && b.Prev > max(v.Base, v.Truncated) {
		return c.hole(at.Volume, "batch (%s, %s] comes after %s", b.Prev, at.LSN, max(end, v.Base, v.Truncated))
	}
	c.ends[at.Volume], c.last, c.chunks = at.LSN, at, body[0]
	return nil
}

// whole checks that the last batch has all its chunks.
func (c *LogCheck) whole() error {
	if c.chunks > 0 && c.last.chunk+1 != c.chunks {
		return c.hole(c.last.Volume, "batch %s has chunks up to %d of %d", c.last.LSN, c.last.chunk, c.chunks)
	}
	return nil
}

// End checks that each log ends where the position says.
func (c *LogCheck) End() error {
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

func (c *LogCheck) hole(id pinetree.VolumeID, format string, args ...any) error {
	return &pinetree.CorruptError{Where: fmt.Sprintf("snapshot at index %d, log of volume %d", c.position.Index, id), What: fmt.Sprintf(format, args...)}
}
