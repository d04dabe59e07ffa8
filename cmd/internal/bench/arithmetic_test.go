package bench

import (
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

func TestSizesAreReadAsTheyArePrinted(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "4096": 4096, "128 B": 128, "4KiB": 4096, "4 KiB": 4096, "4K": 4096, "4MiB": 4 << 20, "1M": 1 << 20, "1024MiB": 1 << 30, "1GiB": 1 << 30, "1 GiB": 1 << 30, "1G": 1 << 30,
	} {
		var s, again Size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%q is %d, %v; want %d", text, s, err, want)
		}
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%q is printed as %q and read as %d, %v", text, s, again, err)
		}
	}
	for _, text := range []string{"", "-1", "4GB", "4KK", "4MiKiB", "1025M", "a", "9223372036854775807K"} {
		if err := new(Size).Set(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestScheduleKeepsItsRate holds both directions of a schedule to each other
// and to the rate.
func TestScheduleKeepsItsRate(t *testing.T) {
	for _, rate := range []float64{0.5, 1, 999, 4000, 4001, 30_000, 123_456.7, 1e6} {
		s := schedule{rate}
		last := time.Duration(0)
		for i := int64(0); i < 20_000; i++ {
			at := s.at(i)
			if exact := time.Duration(float64(i+1) / rate * 1e9); at < exact-1 || at > exact+paceInterval {
				t.Fatalf("rate %g: record %d is due at %v, exactly it would be at %v", rate, i, at, exact)
			}
			if at < last {
				t.Fatalf("rate %g: record %d is due at %v, the one before at %v", rate, i, at, last)
			}
			if now, before := s.due(at), s.due(at-1); now <= i || before > i {
				t.Fatalf("rate %g: record %d is due at %v, where %d are, and just before %d are", rate, i, at, now, before)
			}
			last = at
		}
	}
}

func TestMetricsWithoutLabels(t *testing.T) {
	got := parseMetrics("# HELP a b\n# TYPE a counter\na 1\nb{c=\"d\"} 2\npinetree_raftlog_fsync_seconds_count 1.5e+03\n")
	if len(got) != 2 || got["a"] != 1 || got[savesMetric] != 1500 {
		t.Errorf("%v", got)
	}
}

func TestCostIsWhatLiesBetween(t *testing.T) {
	node := func(cpu time.Duration, fsyncs, logged float64) nodeUsage {
		return nodeUsage{cpu, map[string]float64{syncsMetric: fsyncs, savesMetric: fsyncs / 2, logBytesMetric: logged}}
	}
	began := time.Now()
	from := usage{began, 1000, 100_000, 1 * time.Second, 9 * time.Second, 2 * time.Second, []nodeUsage{node(1, 10, 1000), node(2, 20, 2000)}}
	to := usage{began.Add(2 * time.Second), 6000, 700_000, 3 * time.Second, 13 * time.Second, 3 * time.Second, []nodeUsage{node(5, 40, 3000), node(8, 30, 5000)}}
	c := between(from, to)
	if c.ops() != 2500 || c.bytes != 600_000 || c.load != 2*time.Second || c.manager != time.Second || c.nodes != 10 || c.cpu() != 3*time.Second+10 {
		t.Errorf("%+v", c)
	}
	if c.others() != time.Second-10 {
		t.Errorf("others took %v", c.others())
	}
	if c.fsyncs != 20 || c.loggedBytes != 2500 || !c.logged {
		t.Errorf("means of the nodes: %+v", c)
	}
	delete(to.nodes[1].metrics, logBytesMetric)
	if c := between(from, to); c.logged || c.fsyncs != 17.5 {
		t.Errorf("one node does not count: %+v; want no bytes, and 30 syncs of one and 5 saves of the other", c)
	}
}

func TestGrowthIsNotMovedByTheStartNorByPeaks(t *testing.T) {
	flat, leak := make([]int64, 100), make([]int64, 100)
	for i := range flat {
		flat[i] = 1000 + int64(i%7)
		if i < 20 {
			flat[i] = int64(i)
		}
		if i%10 == 9 {
			flat[i] *= 3
		}
		leak[i] = int64(i) * 100
	}
	if g := growth(flat); g < -7 || g > 7 {
		t.Errorf("a series that stays has grown by %d", g)
	}
	if g := growth(leak); g != 5000 {
		t.Errorf("a series that rises by 100 a step has grown by %d between the middles of its quarters, want 5000", g)
	}
	if all := [][]int64{{5, 1, 3}, {2, 8, 2}, nil}; most(all, peak) != 8 || most(nil, peak) != 0 || most([][]int64{leak, flat}, growth) != 5000 {
		t.Error("the node with most does not count")
	}
	if g := growth([]int64{1, 2, 3}); g != 0 {
		t.Errorf("three samples: %d", g)
	}
}

func TestFiguresAreRounded(t *testing.T) {
	for v, want := range map[float64]float64{123456.7: 123457, 1234.56: 1235, 12.34567: 12.35, 0.00012345678: 0.0001235, -2.71828: -2.718, 0: 0} {
		if got := rounded(v); math.Abs(got-want) > 1e-12 {
			t.Errorf("%g: %g, want %g", v, got, want)
		}
	}
	if rounded(math.NaN()) != 0 || rounded(math.Inf(1)) != 0 {
		t.Error("a run that failed at once has figures")
	}
}

func TestPayloadsHaveTheirSizeAndFormat(t *testing.T) {
	if _, err := payloads(pinetree.FormatRedo, 130); err == nil {
		t.Error("there is a redo record of 130 bytes, which the lengths in it jump over")
	}
	for _, bytes := range []int{1, 7, 32, 33, 100, 127, 128, 129, 140, 1024, 16 << 10, 1 << 20} {
		opaque, err := payloads(pinetree.FormatOpaque, bytes)
		if err != nil || len(opaque) < 2 || len(opaque[1]) != bytes {
			t.Fatalf("opaque, %d bytes: %d payloads, %v", bytes, len(opaque), err)
		}
		if bytes < minRedoBytes {
			continue
		}
		redo, err := payloads(pinetree.FormatRedo, bytes)
		if err != nil {
			t.Fatalf("redo: %v", err)
		}
		keys := map[string]bool{}
		for _, p := range redo {
			var message storepb.Redo
			if err := proto.Unmarshal(p, &message); err != nil || len(p) != bytes {
				t.Fatalf("redo, %d bytes: %d bytes, %v", bytes, len(p), err)
			}
			err := engine.DecodeRedo(p, func(op engine.Op) error { keys[string(op.Key)] = true; return nil })
			if err != nil || len(message.Ops) != 1 {
				t.Fatalf("redo, %d bytes: %d changes, %v", bytes, len(message.Ops), err)
			}
		}
		if len(keys) != len(redo) {
			t.Errorf("%d payloads of %d bytes change %d keys", len(redo), bytes, len(keys))
		}
	}
}
