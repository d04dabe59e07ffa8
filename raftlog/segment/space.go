package segment

import (
	"fmt"

	"github.com/pinetree-db/pinetree/raftlog"
)

// Volume is implemented by file systems that can tell how much space they
// have, in bytes.
type Volume interface {
	Usage() (free, total uint64, err error)
}

// Space asks the file system how much is left, and counts spares as free. A
// store on a file system that cannot tell has plenty. From SpaceThrottle on
// spares are used up and no more are made, and dropped segments are deleted.
func (s *Store) Space() (raftlog.Space, error) {
	volume, ok := s.meter.FS.(Volume)
	if !ok {
		return raftlog.Space{}, nil
	}
	free, total, err := volume.Usage()
	if err != nil {
		return raftlog.Space{}, fmt.Errorf("free space of the raft log's file system: %w", err)
	}
	marks := s.marks
	if marks == (raftlog.SpaceMarks{}) {
		marks = raftlog.Marks(total)
	}
	space := raftlog.Space{Free: free + s.keeper.spareBytes(), Total: total}
	space.Level = marks.Level(space.Free)
	s.keeper.setTight(space.Level >= raftlog.SpaceThrottle)
	return space, nil
}
