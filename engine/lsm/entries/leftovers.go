package entries

import (
	"bytes"
	"slices"

	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
)

// leftovers are the keys of values of the pages at hand that lie above the
// position. Writes before a crash have left them, and were cut otherwise than
// this one may be; under it they would be read as well. It looks once at a page,
// and at all that are new in a write in the order of their keys.
func (r *replayer) leftovers() (map[string]struct{}, error) {
	unknown := slices.DeleteFunc(r.pages.Pages(), r.before.Clean.Add)
	if len(unknown) == 0 {
		return nil, nil
	}
	slices.Sort(unknown)
	left := map[string]struct{}{}
	err := r.before.DB.Scan(r.before.Keys.Kind(layout.PageKind), func(it sorted.Iterator) error {
		for _, page := range unknown {
			name := r.before.Keys.Page(page)
			for it.Seek(name); it.Valid() && bytes.HasPrefix(it.Key(), name); it.Next() {
				lsn, err := layout.VersionLSN(name, it.Key())
				if err != nil {
					return err
				}
				if lsn <= r.before.At {
					break
				}
				left[string(it.Key())] = struct{}{}
			}
		}
		return nil
	})
	return left, err
}
