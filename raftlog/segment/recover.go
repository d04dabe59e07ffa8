package segment

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

// recovery rebuilds the index from the segments, oldest first.
type recovery struct {
	index  *index
	oldest bool // the segment that is being read is the oldest
	// checkpointed tells that the segment's checkpoint has been read, which had
	// so many groups and ended there.
	checkpointed bool
	groups       int
	begin        int64
	synced       int64 // the highest synced offset that a frame of the segment has
}

// visit applies a frame. What it refuses is corruption, wherever it is: the
// frame's checksums are good.
func (r *recovery) visit(f frame.Frame) error {
	wrong := f.Senseless
	switch {
	case wrong != "":
	case f.Synced > f.At.Offset:
		wrong = "it says that more was synced than there was"
	case (f.Kind == frame.Checkpoint) == r.checkpointed:
		wrong = "a segment begins with one checkpoint of all groups, and has no other"
	case f.Kind == frame.Checkpoint:
		wrong = r.checkpoint(f)
	case f.Kind == frame.End:
		wrong = fmt.Sprintf("%s, which follows here, is missing", frame.FileName(f.At.Segment+1))
	case f.Group != 0:
		if wrong = r.index.check(f.Change); wrong == "" {
			r.index.apply(f.Change)
		}
	}
	if wrong != "" {
		return &pinetree.CorruptError{Where: f.At.String(), What: fmt.Sprintf("%s frame of group %d: %s", f.Kind, f.Group, wrong)}
	}
	r.synced = max(r.synced, f.Synced)
	return nil
}

// checkpoint takes over the states from the oldest segment, and compares them
// with what the segments before say from any other.
func (r *recovery) checkpoint(f frame.Frame) string {
	for _, s := range f.States {
		g := r.index.groups[s.Group]
		switch {
		case r.oldest && g == nil:
			r.index.restore(s)
		case r.oldest:
			return fmt.Sprintf("group %d is there twice", s.Group)
		case g == nil:
			return fmt.Sprintf("group %d is in no segment before", s.Group)
		case s != frame.State{Group: s.Group, Hard: g.hard, Start: g.start, Last: g.last()}:
			return fmt.Sprintf("group %d has hard state %v and entries (%d, %d], the segments before say %v and (%d, %d]",
				s.Group, s.Hard, s.Start.Index, s.Last, g.hard, g.start.Index, g.last())
		}
	}
	r.groups += len(f.States)
	r.checkpointed, r.begin = f.Last, f.At.Offset+int64(f.Size)
	if f.Last && r.groups != len(r.index.groups) {
		return fmt.Sprintf("it has %d groups, the segments before have %d", r.groups, len(r.index.groups))
	}
	return ""
}

// recover opens the segments, rebuilds the index and mends what a crash has
// left. Nothing is changed before everything was found good. It returns the
// spare files, also when it fails.
func (s *Store) recover() (spares []*spare, err error) {
	list, err := s.fs.List()
	if err != nil {
		return nil, fmt.Errorf("list the directory: %w", err)
	}
	names, err := sortNames(list)
	if err != nil {
		return nil, err
	}
	data, err := s.readSegments(names.segments)
	if err != nil {
		return nil, err
	}
	if wrong := s.index.missing(); wrong != "" {
		return nil, &pinetree.CorruptError{Where: frame.FileName(names.segments[0]) + " and all after it", What: wrong}
	}
	for _, name := range names.leftovers {
		if err := s.fs.Remove(name); err != nil {
			return nil, fmt.Errorf("remove the unfinished %s: %w", name, err)
		}
	}
	if spares, err = s.openSpares(names.spares); err != nil {
		return spares, err
	}
	if len(s.files) == 0 {
		f, err := creation{number: 1, fill: s.fill}.create(s.fs, nil)
		if err != nil {
			return spares, err
		}
		s.files = append(s.files, f)
		return spares, nil
	}
	if err := mend(s.active(), data); err != nil {
		return spares, err
	}
	if err := s.fs.SyncDir(); err != nil {
		return spares, fmt.Errorf("sync the directory: %w", err)
	}
	return spares, nil
}

// listing is what is in a store's directory.
type listing struct {
	segments          []uint64 // in order, without a gap
	spares, leftovers []string
}

// sortNames picks what the store has made.
func sortNames(names []string) (l listing, err error) {
	slices.Sort(names)
	for _, name := range names {
		if number, ok := segmentNumber(name); ok {
			l.segments = append(l.segments, number)
		} else if strings.HasSuffix(name, frame.FileSuffix+newSuffix) {
			l.leftovers = append(l.leftovers, name)
		} else if strings.HasSuffix(name, frame.FileSuffix+spareSuffix) {
			l.spares = append(l.spares, name)
		}
	}
	if len(l.spares) > maxSpares {
		l.leftovers = append(l.leftovers, l.spares[maxSpares:]...)
		l.spares = l.spares[:maxSpares]
	}
	for i := 1; i < len(l.segments); i++ {
		if l.segments[i] != l.segments[i-1]+1 {
			return l, &pinetree.CorruptError{
				Where: frame.FileName(l.segments[i-1] + 1), What: fmt.Sprintf("is missing, though %s is there", frame.FileName(l.segments[i])),
			}
		}
	}
	return l, nil
}

// readSegments reads the segments into the index and returns the newest one's
// contents.
func (s *Store) readSegments(numbers []uint64) (data []byte, err error) {
	var before int64
	for i, number := range numbers {
		file, err := s.fs.Open(frame.FileName(number))
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", frame.FileName(number), err)
		}
		s.files = append(s.files, newSegmentFile(number, file))
		if i > 0 {
			// Where the one before it ended only this one knows.
			if before, err = s.readBefore(s.active()); err != nil {
				return nil, err
			}
			if err := s.readSegment(i-1, data, before); err != nil {
				return nil, err
			}
		}
		if data, err = s.active().contents(data); err != nil {
			return nil, err
		}
	}
	if len(numbers) == 0 {
		return nil, nil
	}
	return data, s.readSegment(len(numbers)-1, data, 0)
}

// readBefore reads a file's header alone.
func (s *Store) readBefore(f *segmentFile) (int64, error) {
	head := make([]byte, frame.FileHeaderBytes)
	n, err := f.file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read %s: %w", frame.FileName(f.number), err)
	}
	before, wrong := frame.ReadFileHeader(head[:n], f.number)
	if wrong != "" {
		return 0, refuse(f.at(0), wrong)
	}
	return before, nil
}

// contents reads all of the file, into data's memory if that is large enough.
func (f *segmentFile) contents(data []byte) ([]byte, error) {
	size, err := f.file.Size()
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", frame.FileName(f.number), err)
	}
	data = slices.Grow(data[:0], int(size))[:size]
	if _, err := f.file.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", frame.FileName(f.number), err)
	}
	return data, nil
}

// readSegment reads one segment into the index, and refuses what a crash
// cannot have left. The newest one's end is found, any other's is given.
func (s *Store) readSegment(i int, data []byte, end int64) error {
	f, newest := s.files[i], i == len(s.files)-1 && end == 0
	r := recovery{index: s.index, oldest: i == 0}
	whole := data
	if !newest {
		if end > int64(len(data)) {
			return refuse(f.at(int64(len(data))), fmt.Sprintf("the file ends here, the next segment says at offset %d", end))
		}
		data = data[:end]
	}
	got, wrong, err := frame.Walk(data, f.number, r.visit)
	if err != nil {
		return err
	}
	at := f.at(got)
	if !r.checkpointed {
		const missing = "the checkpoint that a segment begins with is not whole"
		return refuse(at, strings.TrimSuffix(missing+": "+wrong, ": "))
	}
	if wrong != "" {
		proof := "only the end of the newest segment may be torn"
		if newest {
			proof = frame.Damage(data, at)
		}
		if proof != "" {
			return refuse(at, wrong+"; no crash leaves this: "+proof)
		}
	}
	f.begin, f.end, f.filled = r.begin, got, int64(len(whole))
	f.synced = max(r.synced, r.begin)
	return nil
}

func refuse(at frame.Place, wrong string) error {
	return &pinetree.CorruptError{
		Where: at.String(), What: wrong + "; restore the file, or give this node's replicas up and add new ones",
	}
}

// openSpares opens the files that may become segments.
func (s *Store) openSpares(names []string) (spares []*spare, err error) {
	for _, name := range names {
		file, err := s.fs.Open(name)
		if err != nil {
			return spares, fmt.Errorf("open %s: %w", name, err)
		}
		sp := &spare{name: name, file: file}
		spares = append(spares, sp)
		if sp.filled, err = file.Size(); err != nil {
			return spares, fmt.Errorf("size of %s: %w", name, err)
		}
	}
	return spares, nil
}
