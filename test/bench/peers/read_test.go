package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

func TestEachSystemThatReadsDoes(t *testing.T) {
	for _, system := range []string{"floor-map", "etcd"} {
		t.Run(system, func(t *testing.T) {
			shape, err := load.ParseShape("read:4:8192")
			if err != nil {
				t.Fatal(err)
			}
			p := plan{dir: t.TempDir(), warmup: 100 * time.Millisecond, duration: 400 * time.Millisecond}
			r, err := p.measure(t.Context(), system, shape)
			if err != nil {
				t.Fatal(err)
			}
			if r.OpsPerSecond < 50 || r.Acked != load.Values || r.P50 <= 0 || r.P99 < r.P50 || r.CPUPer100k <= 0 || r.PeakRSS < 1 {
				t.Errorf("hardly what was measured: %+v", r)
			}
		})
	}
}

func TestOnlyThoseThatCanAreLoaded(t *testing.T) {
	for _, c := range []struct {
		system, shape string
		suits         bool
	}{
		{"etcd", "read:1:8192", true}, {"etcd", "closed:1:8192", true}, {"nats", "read:1:8192", false}, {"floor-tcp", "read:1:8192", false},
		{"floor-map", "read:1:8192", true}, {"floor-map", "closed:1:8192", false}, {"etcd", "closed:64:1024:64", false},
		{"pinetree:badger", "read:1:8192", true}, {"pinetree", "read:1:8192", true}, {"pinetree:wal", "read:1:8192", false},
		{"pinetree:wal", "closed:64:1024:64", true},
	} {
		shape, err := load.ParseShape(c.shape)
		if err != nil {
			t.Fatal(err)
		}
		if got := suits(c.system, shape); got != c.suits {
			t.Errorf("%s under %s: %v", c.system, c.shape, got)
		}
	}
}

// TestReadsWithoutALeaseAreNotThoseThatCount: a default read that finds no lease
// asks a quorum, as a consistent one does.
func TestReadsWithoutALeaseAreNotThoseThatCount(t *testing.T) {
	cfg := load.Config{Shape: load.Shape{RecordSize: 8000}, Duration: 2 * time.Second}
	for said, wrong := range map[string]string{
		`{"cases":[{"ops_s":1000,"p50_us":5,"p99_us":6,"p999_us":7,"cpu_us_per_op":30,"degraded":20}]}`: "",
		`{"cases":[{"ops_s":1000,"degraded":21}]}`:                                                      "found no lease",
		`{"cases":[]}`:                           "0 cases",
		`{"cases":[{"ops_s":1000},{"ops_s":9}]}`: "2 cases",
	} {
		var p pageReads
		if err := json.Unmarshal([]byte(said), &p); err != nil {
			t.Fatal(err)
		}
		r, err := p.result(cfg)
		switch {
		case wrong == "" && (err != nil || r != load.Result{OpsPerSecond: 1000, MBPerSecond: 8, P50: 5, P99: 6, P999: 7, CPUPer100k: 3}):
			t.Errorf("%s is %+v, error %v", said, r, err)
		case wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)):
			t.Errorf("%s: %v, want %q", said, err, wrong)
		}
	}
}
