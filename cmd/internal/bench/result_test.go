package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
)

// finished is a run with round figures.
func finished() *run {
	cfg := Config{RecordBytes: 1000, Workers: 8, Groups: 1, Volumes: 1, Duration: time.Second, Format: pinetree.FormatOpaque, Config: testbed.Config{Engine: "memory"}}
	at := &lane{took: testbed.NewLatencies(), writer: &fakeWriter{}}
	for i := range 1000 {
		at.took.Record(time.Duration(i+1) * time.Millisecond)
	}
	return &run{
		cfg: cfg, load: &load{cfg: cfg, lanes: []*lane{at}}, caughtUp: 1500 * time.Microsecond,
		footprint: footprint{rssPeak: 50_000_000, rssGrowth: -2_000_000, logPeak: 7_000_000, logGrowth: -1_000_000},
		cost: cost{
			seconds: 4, records: 200_000, bytes: 200_000_000, load: time.Second, nodes: 2 * time.Second, manager: time.Second, machine: 6 * time.Second,
			loggedBytes: 220_000_000, logged: true, fsyncs: 10_000, observed: true,
		},
	}
}

func TestResultFollowsFromTheCost(t *testing.T) {
	r := finished().result()
	for name, f := range map[string]struct{ got, want float64 }{
		"ops": {r.OpsPerSecond, 50_000}, "MB": {r.MBPerSecond, 50}, "p50": {r.P50, 500_000}, "p99": {r.P99, 990_000},
		"CPU": {*r.CPUPer100k, 2}, "others": {*r.CPU.Others, 2}, "written": {*r.WrittenPerByte, 1.1}, "fsyncs": {*r.FsyncsPerCommit, 0.05},
		"peak": {*r.RSSPeakMB, 50}, "growth": {*r.RSSGrowthMB, -2}, "log": {*r.LogDiskPeakMB, 7}, "its growth": {*r.LogDiskGrowthMB, -1}, "caught up": {r.CaughtUpMS, 1.5},
		"seconds": {r.Seconds, 4}, "records": {float64(r.Records), 200_000}, "timed": {float64(r.Timed), 1000},
	} {
		if f.got < f.want*0.999 && f.want > 0 || f.got > f.want*1.001 && f.want > 0 || f.want < 0 && f.got != f.want {
			t.Errorf("%s is %g, want %g", name, f.got, f.want)
		}
	}
	var table strings.Builder
	if err := Table(&table, []Result{r}); err != nil || !strings.Contains(table.String(), "50,000") || !strings.Contains(table.String(), "1000 B × 8 in flight") {
		t.Errorf("%v, %s", err, table.String())
	}
}

// TestUnknownIsNull: a script must not take what could not be observed for
// nothing.
func TestUnknownIsNull(t *testing.T) {
	run := finished()
	run.cost.logged = false
	if r := run.result(); r.WrittenPerByte != nil || r.CPUPer100k == nil {
		t.Errorf("a store that does not count: %+v", r)
	}
	run.cost.observed = false
	data, err := json.Marshal(run.result())
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cpu_s_per_100k", "bytes_written_per_payload_byte", "fsyncs_per_commit", "rss_peak_mb", "rss_growth_mb", "log_disk_peak_mb", "log_disk_growth_mb"} {
		if v, there := fields[name]; !there || v != nil {
			t.Errorf("%s is %v", name, v)
		}
	}
	if fields["ops_s"] != 50_000.0 {
		t.Errorf("ops_s is %v", fields["ops_s"])
	}
}

func TestUsualLoadsCanBeRun(t *testing.T) {
	for _, c := range Usual(Config{Duration: time.Second, Format: pinetree.FormatOpaque, Config: testbed.Config{Engine: "memory"}, Rate: 5}) {
		if err := c.Check(); err != nil || c.Mode() == Paced || c.Engine != "memory" {
			t.Errorf("%s: %v, %+v", c, err, c)
		}
	}
}
