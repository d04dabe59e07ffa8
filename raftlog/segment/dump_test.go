package segment_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

// dumpable makes a directory with two segments and everything that Dump knows
// but moved frames.
func dumpable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s, err := segment.Open(dir, segment.Options{SegmentBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	term, vote, commit := uint64(5), uint64(2), uint64(12)
	save(t, s, raftlog.Update{
		Group: 1, Restart: &raftlog.Point{Index: 10, Term: 4}, HardState: &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit},
		Entries: entries(11, 5, 500), MustSync: true,
	})
	if err := errors.Join(s.Compact(1, 13), s.Probe()); err != nil {
		t.Fatal(err)
	}
	save(t, s, raftlog.Update{Group: 2, Entries: entries(1, 4, 500), MustSync: true})
	if err := errors.Join(s.Remove(2), s.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// dumped lists what Dump tells.
func dumped(path string) (infos []segment.FrameInfo, err error) {
	err = segment.Dump(path, func(info segment.FrameInfo) error {
		infos = append(infos, info)
		return nil
	})
	return infos, err
}

func TestDumpTellsWhatIsInTheFiles(t *testing.T) {
	dir := dumpable(t)
	infos, err := dumped(dir)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, info := range infos {
		kinds = append(kinds, filepath.Base(info.File)[15:16]+" "+info.Kind)
		if info.Bytes%32 != 0 || info.Offset%32 != 0 || info.Synced > info.Offset {
			t.Errorf("frame %+v", info)
		}
	}
	want := []string{"1 checkpoint", "1 update", "1 compaction", "1 probe", "2 checkpoint", "2 update", "2 removal", "2 synced"}
	if !slices.Equal(kinds, want) {
		t.Fatalf("frames are %q, want %q", kinds, want)
	}
	update, compaction, checkpoint := infos[1], infos[2], infos[4]
	hard := segment.HardState{Term: 5, Vote: 2, Commit: 12}
	if update.Group != 1 || update.First != 11 || update.Last != 15 || update.FirstTerm != 1 || update.LastTerm != 1 ||
		*update.HardState != hard || *update.Start != (raftlog.Point{Index: 10, Term: 4}) || update.Bytes < 2500 {
		t.Errorf("update: %+v", update)
	}
	if compaction.Group != 1 || *compaction.Start != (raftlog.Point{Index: 13, Term: 1}) || compaction.HardState != nil || compaction.First != 0 {
		t.Errorf("compaction: %+v", compaction)
	}
	if checkpoint.Group != 1 || *checkpoint.Start != (raftlog.Point{Index: 13, Term: 1}) || *checkpoint.HardState != hard || checkpoint.First != 14 || checkpoint.Last != 15 {
		t.Errorf("checkpoint: %+v", checkpoint)
	}
	one, err := dumped(update.File)
	if err != nil || len(one) != 5 || one[4].Kind != "end" {
		t.Errorf("dump of one file: %d frames, %v", len(one), err)
	}
}

func TestDumpGoesUpToTheDamageAndOn(t *testing.T) {
	dir := dumpable(t)
	whole, err := dumped(dir)
	if err != nil {
		t.Fatal(err)
	}
	file := whole[1].File
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[whole[1].Offset+100] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	infos, err := dumped(dir)
	wantCorrupt(t, err, file, "offset 96", "CRC32C")
	if len(infos) != len(whole)-3 {
		t.Errorf("%d frames, want %d", len(infos), len(whole)-3)
	}
	after, err := os.ReadFile(file)
	if err != nil || !slices.Equal(after, data) {
		t.Errorf("Dump changed the file: %v", err)
	}
}

func TestDumpPassesErrorsOn(t *testing.T) {
	dir := dumpable(t)
	stop := errors.New("stop")
	calls := 0
	err := segment.Dump(dir, func(segment.FrameInfo) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("Dump: %v after %d calls", err, calls)
	}
	for _, path := range []string{filepath.Join(dir, "missing"), filepath.Join(dir, "LOCK")} {
		if _, err := dumped(path); err == nil || errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("Dump(%s): %v", path, err)
		}
	}
	if infos, err := dumped(t.TempDir()); len(infos) != 0 || err != nil {
		t.Errorf("Dump of an empty directory: %v, %v", infos, err)
	}
}
