// Package packing puts the batches of many volumes together to few raft entries,
// encoded one after the other into memory that is used again. It does not know
// what becomes of them. It is pure.
package packing

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Buffer is memory to encode in, for one Packer at a time: raft keeps a copy of
// what it is given.
type Buffer struct{ bytes []byte }

// maxBuffer is the size beyond which memory is not kept.
const maxBuffer = 4 << 20

// Entry is a packed raft entry: its size in bytes, and how far each volume in it
// gets.
type Entry struct {
	Size int
	Ends []End
}

// End is how far an entry gets a volume.
type End struct {
	Volume pinetree.VolumeID
	LSN    pinetree.LSN
}

// Packer packs the entries of one message to raft.
type Packer struct {
	// Packed are the entries that are sealed.
	Packed []Entry

	buffer *Buffer
	data   []byte
	from   int   // where the entry under way begins
	ends   []End // of the entry under way
}

// New begins to pack into a buffer, which is the packer's until Close.
func New(b *Buffer) Packer { return Packer{buffer: b, data: b.bytes[:0]} }

// Bytes is how much was packed so far.
func (p *Packer) Bytes() int { return len(p.data) }

// EntryBytes is the size of the entry under way.
func (p *Packer) EntryBytes() int { return len(p.data) - p.from }

// Add adds a volume's next batches to the entry under way.
func (p *Packer) Add(id pinetree.VolumeID, batches []pinetree.Batch) {
	if len(batches) == 0 {
		return
	}
	p.data = storepb.AppendBatches(p.data, batches, p.EntryBytes() == 0)
	p.ends = append(p.ends, End{id, batches[len(batches)-1].LSN})
}

// Seal ends the entry under way.
func (p *Packer) Seal() {
	if size := p.EntryBytes(); size > 0 {
		p.Packed = append(p.Packed, Entry{size, p.ends})
		p.from, p.ends = len(p.data), nil
	}
}

// Entries are what was sealed, as raft takes it: in the buffer, until Close.
func (p *Packer) Entries() []*raftpb.Entry {
	entries := make([]*raftpb.Entry, len(p.Packed))
	rest := p.data
	for i, sealed := range p.Packed {
		entries[i] = &raftpb.Entry{Data: rest[:sealed.Size:sealed.Size]}
		rest = rest[sealed.Size:]
	}
	return entries
}

// Close gives the buffer back.
func (p *Packer) Close() {
	if cap(p.data) <= maxBuffer {
		p.buffer.bytes = p.data
	}
}
