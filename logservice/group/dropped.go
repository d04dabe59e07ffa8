package group

import (
	"fmt"
	"slices"

	"github.com/pinetree-db/pinetree"
)

// closeDropped ends what writers wait for of volumes that the group has no more.
func (r *Replica) closeDropped(before pinetree.Position) {
	for id := range before.Volumes {
		v := r.volumes[id]
		if _, there := r.position.Volumes[id]; there || v == nil {
			continue
		}
		gone := fmt.Errorf("%w: volume %d was deleted", pinetree.ErrUnknownVolume, id)
		r.dismiss(v, gone)
		for _, o := range v.opens {
			o.end(Opened{}, gone)
		}
		v.opens = nil
		r.ready = slices.DeleteFunc(r.ready, func(other *volume) bool { return other == v })
		delete(r.volumes, id)
		delete(r.acknowledged, id)
	}
}
