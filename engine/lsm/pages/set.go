package pages

import "github.com/pinetree-db/pinetree"

// Set is a set of pages. It is bounded: rather than to grow it forgets.
type Set struct {
	blocks map[uint64]uint64 // 64 neighbouring pages each
}

// NewSet makes an empty set.
func NewSet() *Set { return &Set{blocks: map[uint64]uint64{}} }

// maxBlocks bounds the blocks of a set, to some megabytes.
const maxBlocks = 64 << 10

// Add adds a page and tells whether it was there.
func (s *Set) Add(page pinetree.PageNo) (there bool) {
	block, bit := uint64(page)/64, uint64(1)<<(page%64)
	before, known := s.blocks[block]
	if !known && len(s.blocks) >= maxBlocks {
		clear(s.blocks)
	}
	s.blocks[block] = before | bit
	return before&bit != 0
}
