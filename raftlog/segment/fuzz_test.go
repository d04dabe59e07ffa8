package segment

import (
	"slices"
	"testing"

	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

// aSegment makes the contents of a small segment.
func aSegment() []byte {
	var b frame.Batch
	b.Reset(frame.Place{Segment: 7}, frame.FileHeaderBytes)
	b.AddFileHeader(4096)
	b.AddCheckpoint([]frame.State{{Group: 1, Start: raftlog.Point{Index: 4, Term: 2}, Last: 9}, {Group: 2}})
	b.AddCompaction(1, raftlog.Point{Index: 9, Term: 3})
	b.AddEmpty(frame.Removal, 2)
	b.AddEmpty(frame.Probe, 0)
	return slices.Concat(b.Gather(0)...)
}

// FuzzSegment gives recovery whole files.
func FuzzSegment(f *testing.F) {
	f.Add(aSegment())
	f.Add(aSegment()[:200])
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &recovery{index: newIndex(0), oldest: true}
		end, _, err := frame.Walk(data, 7, r.visit)
		if end > int64(len(data)) {
			t.Fatalf("the frames end at %d of %d", end, len(data))
		}
		if err == nil {
			r.index.missing()
			r.index.states()
		}
	})
}

// FuzzNames gives recovery the names of files.
func FuzzNames(f *testing.F) {
	f.Add(frame.FileName(1), frame.FileName(2), frame.FileName(3)+newSuffix)
	f.Add(frame.FileName(1), frame.FileName(3), frame.FileName(9)+spareSuffix)
	f.Add("LOCK", "notes.txt", "1.raftlog")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		l, err := sortNames([]string{a, b, c})
		if err != nil {
			return
		}
		for i, n := range l.segments {
			if i > 0 && n != l.segments[i-1]+1 {
				t.Fatalf("segments %v have a gap", l.segments)
			}
			if !slices.Contains([]string{a, b, c}, frame.FileName(n)) {
				t.Fatalf("segment %d is none of %q, %q, %q", n, a, b, c)
			}
		}
	})
}
