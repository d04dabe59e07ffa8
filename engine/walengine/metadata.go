package walengine

import (
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/meta"
)

// Meta implements engine.Engine. This engine keeps no metadata.
func (g *group) Meta(id pinetree.VolumeID) (*meta.Table, error) {
	return nil, fmt.Errorf("%w: volume %d: this node's engine keeps no metadata; run its group with another one", pinetree.ErrBadBatch, id)
}
