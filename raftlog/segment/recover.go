package segment

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pinetree-db/pinetree"
)

// frame is a good frame in a file.
type frame struct {
	header
	at   place
	size int
	head []byte
	data []byte
	// change is what a frame of any kind but a checkpoint does; senseless is
	// what is wrong with it although its checksums are right, or "".
	change    change
	senseless string
}

// walk calls visit with each good frame of a segment's contents, in order. It
// returns where they end, and what is wrong with the frame that should be
// there: empty when the contents end there, too. An error is visit's own.
func walk(data []byte, segment uint64, visit func(frame) error) (end int64, wrong string, err error) {
	if _, wrong := readFileHeader(data, segment); wrong != "" {
		return 0, wrong, nil
	}
	end = fileHeaderBytes
	for end < int64(len(data)) {
		f, wrong := readFrame(data[end:], place{segment, end})
		if wrong == "" && f.kind != kindCheckpoint {
			if f.change, f.senseless = decodeChange(f); f.senseless == "" {
				wrong = badData(f, f.change.slots)
			}
		}
		if wrong != "" {
			return end, wrong, nil
		}
		if err := visit(f); err != nil {
			return end, "", err
		}
		end += int64(f.size)
	}
	return end, "", nil
}

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
func (r *recovery) visit(f frame) error {
	wrong := f.senseless
	switch {
	case wrong != "":
	case f.synced > f.at.offset:
		wrong = "it says that more was synced than there was"
	case (f.kind == kindCheckpoint) == r.checkpointed:
		wrong = "a segment begins with one checkpoint of all groups, and has no other"
	case f.kind == kindCheckpoint:
		wrong = r.checkpoint(f)
	case f.kind == kindEnd:
		wrong = fmt.Sprintf("%s, which follows here, is missing", fileName(f.at.segment+1))
	case f.group != 0:
		if wrong = r.index.check(f.change); wrong == "" {
			r.index.apply(f.change)
		}
	}
	if wrong != "" {
		return &pinetree.CorruptError{Where: f.at.String(), What: fmt.Sprintf("%s frame of group %d: %s", kindNames[f.kind], f.group, wrong)}
	}
	r.synced = max(r.synced, f.synced)
	return nil
}

// checkpoint takes over the states from the oldest segment, and compares them
// with what the segments before say from any other.
func (r *recovery) checkpoint(f frame) string {
	states, last, wrong := decodeCheckpoint(f.head)
	if wrong == "" && len(f.data) > 0 {
		wrong = "data after a checkpoint"
	}
	if wrong != "" {
		return wrong
	}
	for _, s := range states {
		g := r.index.groups[s.group]
		switch {
		case r.oldest && g == nil:
			r.index.restore(s)
		case r.oldest:
			return fmt.Sprintf("group %d is there twice", s.group)
		case g == nil:
			return fmt.Sprintf("group %d is in no segment before", s.group)
		case s != state{group: s.group, hard: g.hard, start: g.start, last: g.last()}:
			return fmt.Sprintf("group %d has hard state %v and entries (%d, %d], the segments before say %v and (%d, %d]",
				s.group, s.hard, s.start.Index, s.last, g.hard, g.start.Index, g.last())
		}
	}
	r.groups += len(states)
	r.checkpointed, r.begin = last, f.at.offset+int64(f.size)
	if last && r.groups != len(r.index.groups) {
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
		return nil, &pinetree.CorruptError{Where: fileName(names.segments[0]) + " and all after it", What: wrong}
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
		} else if strings.HasSuffix(name, fileSuffix+newSuffix) {
			l.leftovers = append(l.leftovers, name)
		} else if strings.HasSuffix(name, fileSuffix+spareSuffix) {
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
				Where: fileName(l.segments[i-1] + 1), What: fmt.Sprintf("is missing, though %s is there", fileName(l.segments[i])),
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
		file, err := s.fs.Open(fileName(number))
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", fileName(number), err)
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
	head := make([]byte, fileHeaderBytes)
	n, err := f.file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read %s: %w", fileName(f.number), err)
	}
	before, wrong := readFileHeader(head[:n], f.number)
	if wrong != "" {
		return 0, refuse(place{f.number, 0}, wrong)
	}
	return before, nil
}

// contents reads all of the file, into data's memory if that is large enough.
func (f *segmentFile) contents(data []byte) ([]byte, error) {
	size, err := f.file.Size()
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", fileName(f.number), err)
	}
	data = slices.Grow(data[:0], int(size))[:size]
	if _, err := f.file.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", fileName(f.number), err)
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
			return refuse(place{f.number, int64(len(data))}, fmt.Sprintf("the file ends here, the next segment says at offset %d", end))
		}
		data = data[:end]
	}
	got, wrong, err := walk(data, f.number, r.visit)
	if err != nil {
		return err
	}
	at := place{f.number, got}
	if !r.checkpointed {
		const missing = "the checkpoint that a segment begins with is not whole"
		return refuse(at, strings.TrimSuffix(missing+": "+wrong, ": "))
	}
	if wrong != "" {
		proof := "only the end of the newest segment may be torn"
		if newest {
			proof = acknowledged(data, at)
		}
		if proof != "" {
			return refuse(at, wrong+"; no crash leaves this: "+proof)
		}
	}
	f.begin, f.end, f.filled = r.begin, got, int64(len(whole))
	f.synced = max(r.synced, r.begin)
	return nil
}

func refuse(at place, wrong string) error {
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
