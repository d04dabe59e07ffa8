package lsm

import (
	"maps"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
)

// maxCleaned bounds the pages and keys that are remembered as clean.
const maxCleaned = 1 << 17

// truncation is that of a volume up to an LSN.
type truncation struct {
	generation layout.Generation
	id         pinetree.VolumeID
	at         pinetree.LSN
}

// cleaned are the pages and keys of which all is removed that lost its use by a
// truncation, so that a step need not look at what an earlier one has looked at.
// Where much log is truncated at once, it changed few pages often.
type cleaned struct {
	of    truncation
	pages map[pinetree.PageNo]bool
	keys  map[string]bool
}

// about forgets what was clean if that was about another truncation.
func (c *cleaned) about(t truncation) {
	if c.of != t || c.pages == nil {
		*c = cleaned{of: t, pages: map[pinetree.PageNo]bool{}, keys: map[string]bool{}}
	}
}

// skip takes what is clean out of a step.
func (c *cleaned) skip(step trimStep) {
	maps.DeleteFunc(step.pages, func(page pinetree.PageNo, _ bool) bool { return c.pages[page] })
	maps.DeleteFunc(step.keys, func(key string, _ bool) bool { return c.keys[key] })
}

// note notes that a step was made, but for the keys of which something is left.
func (c *cleaned) note(step trimStep, left []string) {
	if len(c.pages)+len(c.keys) > maxCleaned {
		clear(c.pages)
		clear(c.keys)
	}
	maps.Copy(c.pages, step.pages)
	maps.Copy(c.keys, step.keys)
	for _, key := range left {
		delete(c.keys, key)
	}
}
