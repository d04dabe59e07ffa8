package pgwal

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pinetree-db/pinetree"
)

// Source is where segment files come from.
type Source struct {
	list func() ([]segment, error)
}

// segment is one file. Its name tells its timeline and, in two numbers of 32
// bits, its place: the segments of 2^32 bytes of log share the first one.
type segment struct {
	name     string
	timeline uint32
	high     uint32
	low      uint32
	open     func() (fs.File, error)
}

// FS is a source of the segments in the root folder of a file system, whose
// files must be io.ReaderAt. Files that are not named like a segment are left
// out.
func FS(fsys fs.FS) Source {
	return Source{list: func() ([]segment, error) {
		entries, err := fs.ReadDir(fsys, ".")
		if err != nil {
			return nil, fmt.Errorf("list WAL segments: %w", err)
		}
		var found []segment
		for _, e := range entries {
			if s, ok := parseName(e.Name()); ok && !e.IsDir() {
				s.open = func() (fs.File, error) { return fsys.Open(s.name) }
				found = append(found, s)
			}
		}
		return found, nil
	}}
}

// Paths is a source of segment files and of folders that hold some, in any
// order. A file that is not named like a segment is an error.
func Paths(paths ...string) Source {
	return Source{list: func() ([]segment, error) {
		var found []segment
		for _, path := range paths {
			info, err := os.Stat(path)
			if err != nil {
				return nil, fmt.Errorf("WAL segments: %w", err)
			}
			if info.IsDir() {
				inside, err := FS(os.DirFS(path)).list()
				if err != nil {
					return nil, err
				}
				found = append(found, inside...)
				continue
			}
			s, ok := parseName(filepath.Base(path))
			if !ok {
				return nil, fmt.Errorf("%s is not named like a WAL segment: want 24 hexadecimal digits, such as 000000010000000000000001", path)
			}
			s.open = func() (fs.File, error) { return os.Open(path) }
			found = append(found, s)
		}
		return found, nil
	}}
}

// parseName reads a segment's file name. A file still being received has
// ".partial" after it.
func parseName(name string) (segment, bool) {
	digits, _ := strings.CutSuffix(name, ".partial")
	if len(digits) != 24 || strings.ToUpper(digits) != digits {
		return segment{}, false
	}
	var parts [3]uint32
	for i := range parts {
		n, err := strconv.ParseUint(digits[8*i:8*i+8], 16, 32)
		if err != nil {
			return segment{}, false
		}
		parts[i] = uint32(n)
	}
	return segment{name: name, timeline: parts[0], high: parts[1], low: parts[2]}, true
}

// start is the LSN at which the segment begins.
func (s segment) start(segmentBytes pinetree.LSN) pinetree.LSN {
	return pinetree.LSN(s.high)<<32 + pinetree.LSN(s.low)*segmentBytes
}

// place orders segments along the log, whatever their size.
func (s segment) place() uint64 { return uint64(s.high)<<32 | uint64(s.low) }

// segments lists the source along the log, one file for each place: a complete
// one before a partial one, and of several timelines the latest, which begins
// with a copy of its ancestor's bytes. What an earlier timeline wrote after a
// later one began is off the path.
func (s Source) segments() ([]segment, error) {
	found, err := s.list()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b segment) int {
		return cmp.Or(cmp.Compare(a.place(), b.place()), preference(a, b))
	})
	found = slices.CompactFunc(found, func(a, b segment) bool { return a.place() == b.place() })
	latest := uint32(0)
	found = slices.DeleteFunc(found, func(s segment) bool {
		latest = max(latest, s.timeline)
		return s.timeline < latest
	})
	if len(found) == 0 {
		return nil, fmt.Errorf("no WAL segments there: want files named with 24 hexadecimal digits, such as 000000010000000000000001, not compressed")
	}
	return found, nil
}

func preference(a, b segment) int {
	return cmp.Or(cmp.Compare(b.timeline, a.timeline), strings.Compare(a.name, b.name))
}
