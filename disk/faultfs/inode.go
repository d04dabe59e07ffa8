package faultfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// inode is a file.
type inode struct {
	data    []byte         // what processes see
	durable []byte         // what a power cut leaves for certain
	dirty   map[int64]bool // sectors that a power cut may leave in either state
}

func newInode() *inode { return &inode{dirty: map[int64]bool{}} }

func (n *inode) clone() *inode {
	return &inode{data: slices.Clone(n.data), durable: slices.Clone(n.durable), dirty: maps.Clone(n.dirty)}
}

func (n *inode) write(data []byte, offset int64) {
	if len(data) == 0 {
		return
	}
	end := offset + int64(len(data))
	n.data = extend(n.data, end)
	copy(n.data[offset:], data)
	for s := offset / SectorBytes; s*SectorBytes < end; s++ {
		n.dirty[s] = true
	}
}

func (n *inode) sync() {
	for s := range n.dirty {
		n.durable = keep(n.durable, n.data, s)
	}
	n.durable = extend(n.durable, int64(len(n.data)))
	clear(n.dirty)
}

// cut makes the file what a power cut leaves: nothing, the first part, or any
// part of the sectors that were not synced; and the new length, or not.
func (n *inode) cut(random *rand.Rand) {
	sectors := slices.Sorted(maps.Keys(n.dirty))
	kept := len(sectors)
	style := random.IntN(4)
	switch style {
	case 0:
		kept = 0
	case 1:
		kept = random.IntN(len(sectors) + 1)
	}
	for _, s := range sectors[:kept] {
		if style != 2 || random.IntN(2) == 0 {
			n.durable = keep(n.durable, n.data, s)
		}
	}
	if random.IntN(2) == 0 {
		n.durable = extend(n.durable, int64(len(n.data)))
	}
	n.data = slices.Clone(n.durable)
	clear(n.dirty)
}

// keep makes one sector of durable what it is in data.
func keep(durable, data []byte, sector int64) []byte {
	from := sector * SectorBytes
	to := min(from+SectorBytes, int64(len(data)))
	durable = extend(durable, to)
	copy(durable[from:to], data[from:to])
	return durable
}

// extend lengthens with zeroes.
func extend(b []byte, size int64) []byte {
	if grown := size - int64(len(b)); grown > 0 {
		b = append(b, make([]byte, grown)...)
	}
	return b
}
