package touched

import (
	"maps"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
)

// maxCleaned bounds the pages and keys that are remembered as clean.
const maxCleaned = 1 << 17

// Truncation is that of a volume up to an LSN.
type Truncation struct {
	Generation layout.Generation
	Volume     pinetree.VolumeID
	At         pinetree.LSN
}

// Cleaned are the pages and keys of which all is removed that lost its use by a
// truncation, so that a step need not look at what an earlier one has looked at.
// Where much log is truncated at once, it changed few pages often. The zero Cleaned is
// ready; one goroutine at a time uses it.
type Cleaned struct {
	of        Truncation
	what      Set
	shortened shortened
}

// Begin takes what is clean out of a step of a truncation, and puts the pages in that
// were shortened where it has come to. It forgets what was clean if that was about
// another truncation.
func (c *Cleaned) Begin(t Truncation, step *Set) {
	if c.of != t {
		c.of, c.what = t, Set{}
	}
	c.shortened.take(t, step)
	maps.DeleteFunc(step.Pages, func(page pinetree.PageNo, _ bool) bool { return c.what.Pages[page] })
	maps.DeleteFunc(step.Keys, func(key string, _ bool) bool { return c.what.Keys[key] })
}

// Shortened notes that the version of a page at t.At was made an image, which the log
// does not tell.
func (c *Cleaned) Shortened(t Truncation, page pinetree.PageNo) { c.shortened.note(t, page) }

// Note notes that a step was made.
func (c *Cleaned) Note(step Set) {
	if len(c.what.Pages)+len(c.what.Keys) > maxCleaned {
		c.what = Set{}
	}
	c.what.add(step)
}
