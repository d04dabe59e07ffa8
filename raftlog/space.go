package raftlog

import (
	"fmt"

	"github.com/pinetree-db/pinetree"
)

// SpaceLevel tells how much of the disk is left, and so what may still be
// written. Each level includes what those before it ask for.
type SpaceLevel int

// The levels, from plenty to none.
const (
	// SpacePlenty asks for nothing.
	SpacePlenty SpaceLevel = iota
	// SpaceWarn is to be reported.
	SpaceWarn
	// SpaceThrottle slows writers down.
	SpaceThrottle
	// SpaceStop refuses what writers append, with pinetree.ErrDiskFull; what is
	// left is the reserve, in which fencing, leader moves and compaction go on.
	SpaceStop
	// SpaceReserve is the reserve half used. Nothing more is refused: followers take
	// what their leaders send until the disk is full.
	SpaceReserve
)

// String is the level's name.
func (l SpaceLevel) String() string {
	names := [...]string{"plenty", "warn", "throttle", "stop", "reserve"}
	if l < 0 || int(l) >= len(names) {
		return fmt.Sprintf("SpaceLevel(%d)", int(l))
	}
	return names[l]
}

// Space is what a store knows of its disk.
type Space struct {
	Level SpaceLevel
	// Free is what can be written, in bytes: what the file system has left, and
	// files of the store that are ready to be written over. Total is the size
	// of the file system.
	Free, Total uint64
}

// Err is nil as long as writers may go on.
func (s Space) Err() error {
	if s.Level < SpaceStop {
		return nil
	}
	return fmt.Errorf("%w: %d of %d bytes are left to the raft log, the rest is kept for recovery; free space or move replicas away",
		pinetree.ErrDiskFull, s.Free, s.Total)
}

// SpaceMarks are the bytes of free space below which a level begins. They
// fall from Warn to Reserve.
type SpaceMarks struct {
	Warn, Throttle, Stop, Reserve uint64
}

// Marks are the defaults for a disk of that size: a tenth, a twentieth, a
// fortieth and an eightieth of it, but no less than 1 GiB, 512, 256 and 128 MiB
// and no more than 64, 32, 16 and 8 GiB. No mark is above half of the disk.
func Marks(total uint64) SpaceMarks {
	mark := func(share uint64, least uint64) uint64 {
		return min(max(total/share, least), 64*least, total/share*5)
	}
	return SpaceMarks{Warn: mark(10, 1<<30), Throttle: mark(20, 512<<20), Stop: mark(40, 256<<20), Reserve: mark(80, 128<<20)}
}

// Check refuses marks that do not fall.
func (m SpaceMarks) Check() error {
	if m.Warn < m.Throttle || m.Throttle < m.Stop || m.Stop < m.Reserve {
		return fmt.Errorf("free-space marks %d, %d, %d, %d: each must be at most the one before", m.Warn, m.Throttle, m.Stop, m.Reserve)
	}
	return nil
}

// Level is that of so many free bytes.
func (m SpaceMarks) Level(free uint64) SpaceLevel {
	switch {
	case free < m.Reserve:
		return SpaceReserve
	case free < m.Stop:
		return SpaceStop
	case free < m.Throttle:
		return SpaceThrottle
	case free < m.Warn:
		return SpaceWarn
	}
	return SpacePlenty
}

// Spacer is implemented by stores that know how much space they have left.
type Spacer interface {
	// Space asks the file system. It may be called by any goroutine at any
	// time, and is meant for about once a second.
	Space() (Space, error)
}
