package walengine

import (
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
	"github.com/pinetree-db/pinetree/meta"
)

// Meta implements engine.Engine.
func (g *group) Meta(id pinetree.VolumeID) (*meta.Table, error) {
	l, err := g.current()
	if err != nil {
		return nil, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if _, ok := l.position.Volumes[id]; !ok {
		return nil, fmt.Errorf("%w: volume %d is not in group %d", pinetree.ErrUnknownVolume, id, g.id)
	}
	return l.meta.Table(id), nil
}

// full tells whether the log is to go on in a new file: not before there is more in
// this one than its checkpoint, which may be large with metadata.
func (f *logFile) full(end frames.Offset, fileBytes int64) bool {
	return int64(end-f.base) >= fileBytes && end-f.body >= 2*(f.body-f.base)
}
