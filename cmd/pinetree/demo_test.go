package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree/adapter/pgwal/pgsample"
)

// TestDemoGivesBackEveryByte runs the demo with real processes and holds its
// last line to what scripts depend on.
func TestDemoGivesBackEveryByte(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	out := must(t, "demo", "--json")
	t.Log(out)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := []byte(lines[len(lines)-1])
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(last, &fields); err != nil {
		t.Fatalf("the last line is %s: %v", last, err)
	}
	want := []string{
		"ack_p50_ms", "ack_p99_ms", "bytes", "duration_s", "failover_gap_ms", "fenced_writer_error", "move_gap_ms", "ok", "records",
		"replicas", "ship_mb_s", "source_md5",
	}
	if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		t.Errorf("the fields are %v, want %v", got, want)
	}
	var result struct {
		OK       bool   `json:"ok"`
		Records  int    `json:"records"`
		Bytes    int64  `json:"bytes"`
		Source   string `json:"source_md5"`
		Replicas []struct {
			Node    int    `json:"node"`
			Records int    `json:"records"`
			Bytes   int64  `json:"bytes"`
			MD5     string `json:"md5"`
		} `json:"replicas"`
		Ship     float64 `json:"ship_mb_s"`
		P50      float64 `json:"ack_p50_ms"`
		P99      float64 `json:"ack_p99_ms"`
		Failover float64 `json:"failover_gap_ms"`
		Move     float64 `json:"move_gap_ms"`
		Fenced   string  `json:"fenced_writer_error"`
		Duration float64 `json:"duration_s"`
	}
	if err := json.Unmarshal(last, &result); err != nil {
		t.Fatal(err)
	}
	if !result.OK || result.Records != pgsample.Records || result.Bytes != pgsample.Bytes || result.Source != pgsample.MD5 || len(result.Replicas) != 3 {
		t.Errorf("not the sample's figures: %+v", result)
	}
	for _, r := range result.Replicas {
		if r.Records != pgsample.Records || r.Bytes != pgsample.Bytes || r.MD5 != pgsample.MD5 {
			t.Errorf("replica %+v", r)
		}
	}
	if result.Ship <= 0 || result.P50 <= 0 || result.P99 < result.P50 || result.Move <= 0 || result.Duration <= 0 ||
		result.Failover <= result.P50 || !strings.Contains(result.Fenced, "compute term 2 is open") {
		t.Errorf("figures that cannot be: %+v", result)
	}
}
