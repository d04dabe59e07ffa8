package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

// FrameInfo is what Dump tells of a frame, or of one group's part of a
// checkpoint frame. Pointers are nil, and numbers zero, where a kind of frame
// has nothing to say.
type FrameInfo struct {
	File   string
	Offset int64
	Bytes  int    // of the frame in the file
	Kind   string // update, checkpoint, compaction, moved, removal, probe, synced, end
	Synced int64  // the file was durable up to here when the frame was written
	Group  pinetree.GroupID
	// First and Last are the indexes of the entries in the frame; of a
	// checkpoint, those of the entries that the group has.
	First, Last pinetree.RaftIndex
	// FirstTerm and LastTerm are the raft terms of these entries; zero in a
	// checkpoint.
	FirstTerm, LastTerm pinetree.RaftTerm
	// HardState of an update or a checkpoint.
	HardState *HardState
	// Start is where a restart lets the log begin, what a compaction drops up
	// to, or, in a checkpoint, the point before the first entry.
	Start *raftlog.Point
}

// HardState is raft's, in Pinetree's types.
type HardState struct {
	Term   pinetree.RaftTerm
	Vote   pinetree.NodeID
	Commit pinetree.RaftIndex
}

// Dump calls fn with what is in the segments of a store's directory, or in one
// segment file, in the order of the log, until fn returns an error, which it
// passes on. It takes no lock and changes nothing. Of a damaged file it tells
// what comes before the damage, then goes on with the next file; the damages
// are returned together at the end, each a *pinetree.CorruptError. What a torn
// write left at the end of the newest file is none.
func Dump(path string, fn func(FrameInfo) error) error {
	files, err := dumpFiles(path)
	if err != nil {
		return err
	}
	var damages []error
	for i, file := range files {
		number, _ := segmentNumber(filepath.Base(file))
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		newest := i == len(files)-1
		if !newest {
			if end, ok := endBefore(files[i+1], number+1); ok && end <= int64(len(data)) {
				data = data[:end]
			}
		}
		end, wrong, err := frame.Walk(data, number, func(f frame.Frame) error {
			infos, wrong := describe(f)
			if wrong != "" {
				damages = append(damages, &pinetree.CorruptError{Where: fmt.Sprintf("%s offset %d", file, f.At.Offset), What: wrong})
			}
			for _, info := range infos {
				info.File = file
				if err := fn(info); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if wrong != "" && !(newest && end > 0 && frame.Damage(data, frame.Place{Segment: number, Offset: end}) == "") {
			damages = append(damages, &pinetree.CorruptError{Where: fmt.Sprintf("%s offset %d", file, end), What: wrong})
		}
	}
	return errors.Join(damages...)
}

// endBefore is where the segment before a file's ended, if the file can say.
func endBefore(file string, number uint64) (int64, bool) {
	f, err := os.Open(file)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	head := make([]byte, frame.FileHeaderBytes)
	if _, err := io.ReadFull(f, head); err != nil {
		return 0, false
	}
	end, wrong := frame.ReadFileHeader(head, number)
	return end, wrong == ""
}

// dumpFiles lists the segments at a path: a directory's, or the one.
func dumpFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if _, ok := segmentNumber(filepath.Base(path)); !ok {
			return nil, fmt.Errorf("%s is not named like a raft log segment, such as %s", path, frame.FileName(1))
		}
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // in the order of the names, which is the log's
	var files []string
	for _, e := range entries {
		if _, ok := segmentNumber(e.Name()); ok {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files, err
}

// describe tells what is in a frame, and what is wrong with it.
func describe(f frame.Frame) ([]FrameInfo, string) {
	info := FrameInfo{Offset: f.At.Offset, Bytes: f.Size, Kind: f.Kind.String(), Group: f.Group, Synced: f.Synced}
	if f.Kind == frame.Checkpoint {
		return describeCheckpoint(info, f)
	}
	c := f.Change
	if f.Senseless != "" {
		return []FrameInfo{info}, f.Senseless
	}
	if n := len(c.Slots); n > 0 {
		info.First, info.Last = pinetree.RaftIndex(c.First), pinetree.RaftIndex(c.First+uint64(n)-1)
		info.FirstTerm, info.LastTerm = pinetree.RaftTerm(c.Slots[0].Term), pinetree.RaftTerm(c.Slots[n-1].Term)
	}
	if c.Flags&frame.HasHardState != 0 {
		info.HardState = exportHardState(c.Hard)
	}
	if c.Flags&frame.HasRestart != 0 || c.Kind == frame.Compaction {
		info.Start = &c.Start
	}
	return []FrameInfo{info}, ""
}

// describeCheckpoint is describe for one frame's groups; for a store without
// any, it is the frame alone.
func describeCheckpoint(info FrameInfo, f frame.Frame) ([]FrameInfo, string) {
	states := f.States
	if f.Senseless != "" || len(states) == 0 {
		return []FrameInfo{info}, f.Senseless
	}
	infos := make([]FrameInfo, 0, len(states))
	for _, s := range states {
		info.Group, info.HardState, info.Start = s.Group, exportHardState(s.Hard), &s.Start
		info.First, info.Last = 0, 0
		if s.Last > uint64(s.Start.Index) {
			info.First, info.Last = s.Start.Index+1, pinetree.RaftIndex(s.Last)
		}
		infos = append(infos, info)
	}
	return infos, ""
}

func exportHardState(h frame.HardState) *HardState {
	return &HardState{Term: pinetree.RaftTerm(h.Term), Vote: pinetree.NodeID(h.Vote), Commit: pinetree.RaftIndex(h.Commit)}
}
