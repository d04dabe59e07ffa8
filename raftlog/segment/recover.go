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
	body []byte
}

// walk calls visit with each good frame of a segment's contents, in order. It
// returns where the frames end, and why what is there is not a frame: empty
// when only zeroes follow. An error is visit's own.
func walk(data []byte, segment uint64, visit func(frame) error) (end int64, wrong string, err error) {
	if wrong := checkFileHeader(data, segment); wrong != "" {
		return 0, wrong, nil
	}
	end = fileHeaderBytes
	for end < int64(len(data)) {
		rest := data[end:]
		if allZero(rest[:min(frameHeaderBytes, len(rest))]) {
			if allZero(rest) {
				return end, "", nil
			}
			return end, "zeroes with other bytes after them", nil
		}
		at := place{segment, end}
		h, body, size, wrong := readFrame(rest, at)
		if wrong != "" {
			return end, wrong, nil
		}
		if err := visit(frame{header: h, at: at, size: size, body: body}); err != nil {
			return end, "", err
		}
		end += int64(size)
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
// frame's checksum is good.
func (r *recovery) visit(f frame) error {
	wrong := ""
	switch {
	case f.synced > f.at.offset:
		wrong = "it says that more was synced than there was"
	case (f.kind == kindCheckpoint) == r.checkpointed:
		wrong = "a segment begins with one checkpoint of all groups, and has no other"
	case f.kind == kindCheckpoint:
		wrong = r.checkpoint(f)
	default:
		var c change
		if c, wrong = decodeChange(f.header, f.body, f.at); wrong == "" {
			if wrong = r.index.check(c); wrong == "" && c.kind != kindProbe {
				r.index.apply(c)
			}
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
	states, last, wrong := decodeCheckpoint(f.body)
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
// left. Nothing is changed before everything was found good.
func (s *Store) recover() error {
	names, err := s.fs.List()
	if err != nil {
		return fmt.Errorf("list the directory: %w", err)
	}
	numbers, leftovers, err := sortNames(names)
	if err != nil {
		return err
	}
	r := &recovery{index: s.index}
	var data []byte
	for i, number := range numbers {
		if data, err = s.openSegment(number, data); err != nil {
			return err
		}
		r.oldest = i == 0
		if err := r.segment(s.active(), data, i == len(numbers)-1); err != nil {
			return err
		}
	}
	if wrong := s.index.missing(); wrong != "" {
		return &pinetree.CorruptError{Where: fileName(numbers[0]) + " and all after it", What: wrong}
	}
	for _, name := range leftovers {
		if err := s.fs.Remove(name); err != nil {
			return fmt.Errorf("remove the unfinished %s: %w", name, err)
		}
	}
	if len(numbers) == 0 {
		f, err := createSegment(s.fs, 1, nil, s.fill)
		if err != nil {
			return err
		}
		s.files = append(s.files, f)
		return nil
	}
	if err := mend(s.active(), data); err != nil {
		return err
	}
	if err := s.fs.SyncDir(); err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	return nil
}

// sortNames picks the segments, in order, and the unfinished ones.
func sortNames(names []string) (numbers []uint64, leftovers []string, err error) {
	for _, name := range names {
		if number, ok := segmentNumber(name); ok {
			numbers = append(numbers, number)
		} else if strings.HasSuffix(name, fileSuffix+newSuffix) {
			leftovers = append(leftovers, name)
		}
	}
	slices.Sort(numbers)
	slices.Sort(leftovers)
	for i := 1; i < len(numbers); i++ {
		if numbers[i] != numbers[i-1]+1 {
			return nil, nil, &pinetree.CorruptError{
				Where: fileName(numbers[i-1] + 1), What: fmt.Sprintf("is missing, though %s is there", fileName(numbers[i])),
			}
		}
	}
	return numbers, leftovers, nil
}

// openSegment opens a segment as the newest and reads all of it, into data's
// memory if that is large enough.
func (s *Store) openSegment(number uint64, data []byte) ([]byte, error) {
	file, err := s.fs.Open(fileName(number))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", fileName(number), err)
	}
	s.files = append(s.files, newSegmentFile(number, file))
	size, err := file.Size()
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", fileName(number), err)
	}
	data = slices.Grow(data[:0], int(size))[:size]
	if _, err := file.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", fileName(number), err)
	}
	return data, nil
}

// segment reads one segment into the index, and refuses what a crash cannot
// have left.
func (r *recovery) segment(f *segmentFile, data []byte, newest bool) error {
	*r = recovery{index: r.index, oldest: r.oldest}
	end, wrong, err := walk(data, f.number, r.visit)
	if err != nil {
		return err
	}
	at := place{f.number, end}
	if wrong == "" && !r.checkpointed {
		wrong = "the checkpoint that a segment begins with is not there"
	}
	if wrong != "" {
		proof := "only the end of the newest segment may be torn"
		if newest && r.checkpointed {
			proof = acknowledged(data, at)
		}
		if proof == "" {
			wrong = ""
		} else {
			wrong += "; no crash leaves this: " + proof
		}
	}
	if wrong != "" {
		return &pinetree.CorruptError{Where: at.String(), What: wrong + "; restore the file, or give this node's replicas up and add new ones"}
	}
	f.begin, f.end, f.filled = r.begin, end, int64(len(data))
	f.synced = max(r.synced, r.begin)
	return nil
}

// acknowledged tells by what the bytes at the end of the newest segment's good
// frames show that they are not a torn write, or "" when they may be one. The
// rules are in the package comment.
func acknowledged(data []byte, end place) string {
	for offset := end.offset + frameAlign; offset < int64(len(data)); offset += frameAlign {
		if h, ok := readHeader(data[offset:], place{end.segment, offset}); ok && h.synced > end.offset {
			return fmt.Sprintf("the frame at offset %d was written when everything up to %d was synced", offset, h.synced)
		}
	}
	rest := data[end.offset:]
	if len(rest) < frameHeaderBytes || rest[frameHeaderBytes-1] == 0 {
		return ""
	}
	h, ok := readHeader(rest, end)
	if !ok {
		return "its header is whole, and wrong"
	}
	size := frameBytes(h.length)
	if size > len(rest) || rest[size-1] == 0 || zeroPieces(rest[:size], end.offset) > h.zeroes {
		return ""
	}
	return "all of it was written, and it is wrong"
}

// mend makes what recovery has read of the newest segment surely durable: it
// writes again what no frame proves synced, since after a failed fsync only
// the page cache may have it, and zeroes over a torn end. The torn frame's
// kind goes first: without it, a crash while mending leaves a torn frame, too.
func mend(f *segmentFile, data []byte) error {
	dirty := int64(len(data))
	for dirty > f.end && data[dirty-1] == 0 {
		dirty--
	}
	clear(data[f.end:dirty])
	split := min(f.end+frameHeaderBytes-1, dirty)
	for _, part := range [][2]int64{{split, dirty}, {f.synced, split}} {
		from, to := part[0], part[1]
		if from == to {
			continue
		}
		if _, err := f.file.WriteAt(data[from:to], from); err != nil {
			return fmt.Errorf("mend %s: %w", fileName(f.number), err)
		}
	}
	return f.sync()
}
