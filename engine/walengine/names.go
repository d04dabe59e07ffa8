package walengine

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine/walengine/frames"
)

const (
	logSuffix   = ".wal"
	groupSuffix = ".group"
	newSuffix   = ".new"
)

// life is one generation of a group's state.
type life struct {
	group      pinetree.GroupID
	generation uint32
	// bound is the group whose id the checksums of the frames bind them to: the
	// one that they were first written by. It is not in the names.
	bound pinetree.GroupID
}

func (l life) groupName() string {
	return fmt.Sprintf("%016x.%08x%s", uint64(l.group), l.generation, groupSuffix)
}

func (l life) logName(base frames.Offset) string {
	return fmt.Sprintf("%016x.%08x.%016x%s", uint64(l.group), l.generation, uint64(base), logSuffix)
}

// file is what the header of a file of the generation's log says.
func (l life) file(base frames.Offset) frames.File {
	return frames.File{Group: l.group, Bound: l.bound, Generation: l.generation, Base: base}
}

// place is that of a frame of the generation's log.
func (l life) place(at frames.Offset) frames.Place { return frames.Place{Bound: l.bound, At: at} }

// parseName reads a name that groupName or logName made, or either with
// newSuffix behind it, and tells by its suffix which. Other names are not ok.
func parseName(name string) (l life, base frames.Offset, suffix string, ok bool) {
	name, isNew := strings.CutSuffix(name, newSuffix)
	parts := strings.Split(name, ".")
	group, ok := hex(parts[0], 16)
	if !ok || len(parts) < 3 {
		return l, 0, "", false
	}
	generation, ok := hex(parts[1], 8)
	if !ok {
		return l, 0, "", false
	}
	l = life{group: pinetree.GroupID(group), generation: uint32(generation)}
	suffix = "." + parts[len(parts)-1]
	switch {
	case len(parts) == 3 && suffix == groupSuffix:
	case len(parts) == 4 && suffix == logSuffix:
		at, ok := hex(parts[2], 16)
		if !ok || frames.Offset(at) < 0 {
			return l, 0, "", false
		}
		base = frames.Offset(at)
	default:
		return l, 0, "", false
	}
	if isNew {
		suffix = newSuffix
	}
	return l, base, suffix, true
}

// hex reads a number that was printed with so many lower case digits.
func hex(s string, digits int) (uint64, bool) {
	if len(s) != digits || strings.ToLower(s) != s {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil
}
