package layout

import (
	"bytes"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// Chain is what is to be replayed for a page.
type Chain struct {
	values [][]Change   // newest value first
	First  pinetree.LSN // that the newest value is found by
	Last   pinetree.LSN // of the newest change
	Bytes  int          // that were read
}

// ReadChain reads a page's changes up to an LSN, back to the last image, with an
// iterator over the page or more. A value is found by its first change, so the
// newest one may go on above the LSN; all changes of the others are below.
func ReadChain(it sorted.Iterator, keys VolumeKeys, page pinetree.PageNo, at pinetree.LSN) (c Chain, err error) {
	name := keys.Page(page)
	for it.Seek(Version(bytes.Clone(name), at)); it.Valid() && bytes.HasPrefix(it.Key(), name); {
		first, err := VersionLSN(name, it.Key())
		if err != nil {
			return c, err
		}
		value, err := ReadValue(it)
		if err != nil {
			return c, err
		}
		changes, hasImage, err := DecodePage(value, first, at)
		if err != nil {
			return c, fmt.Errorf("page %d, changes from %s on: %w", page, first, err)
		}
		if c.Empty() {
			c.First, c.Last = first, changes[len(changes)-1].LSN
		}
		c.Bytes += len(value)
		if c.values = append(c.values, changes); hasImage {
			return c, nil
		}
	}
	return c, nil
}

// Empty tells that nothing ever changed the page.
func (c Chain) Empty() bool { return len(c.values) == 0 }

// Changes is how many there are.
func (c Chain) Changes() (n int) {
	for _, changes := range c.values {
		n += len(changes)
	}
	return n
}

// Replay makes the page, in the memory of a chain that is not empty. It is called
// once.
func (c Chain) Replay() (page []byte) {
	oldest := len(c.values) - 1
	if op := c.values[oldest][0].Op; op.Kind == engine.PageImage {
		page, c.values[oldest] = op.Data[:len(op.Data):len(op.Data)], c.values[oldest][1:]
	}
	for i := oldest; i >= 0; i-- {
		page = ReplayPage(page, c.values[i])
	}
	return page
}
