package benchlog

import (
	"context"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/raftlog/segment"
)

func TestWhatIsMeasuredAddsUp(t *testing.T) {
	dir := t.TempDir()
	s, err := segment.Open(dir, segment.Options{SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cfg := Config{Batches: []int{1, 8}, Sizes: []int{1000}, Duration: 30 * time.Millisecond, WarmBytes: 2 << 20, Dir: dir}
	var got []Result
	if err := Run(context.Background(), "segment", s, cfg, func(r Result) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Batch != 1 || got[1].Batch != 8 {
		t.Fatalf("results: %+v", got)
	}
	for _, r := range got {
		if r.Entries <= 0 || r.MB < r.Entries/1000*0.99 || r.MB > r.Entries/1000*1.01 || r.P50Micro <= 0 || r.P50Micro > r.P99Micro {
			t.Errorf("%+v does not add up", r)
		}
		if r.Syncs == nil || *r.Syncs*float64(r.Batch) < 0.99 || r.Written == nil || *r.Written < 1 {
			t.Errorf("%+v: one sync for each batch, and all its bytes, were to be seen", r)
		}
	}
}

func TestDiskStatisticsAreReadFromTheRightColumn(t *testing.T) {
	const stats = "   7       0 loop0 1 2 3 4 5 6 70 8 0 9 10\n 254       0 vda 18 28 54 65 58 73 800 35 1 14 10\n"
	if got := sectorsWritten(stats, "254", "0"); got == nil || *got != 800*512 {
		t.Errorf("vda has written %v", got)
	}
	if got := sectorsWritten(stats, "8", "0"); got != nil {
		t.Errorf("a disk that is not there has written %v", *got)
	}
}
