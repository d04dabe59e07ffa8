package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

// TestMain lets the test binary be what the command is: its own servers and
// load.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestFloorCarriesEachLoad(t *testing.T) {
	for _, c := range []struct{ system, shape string }{
		{"floor-tcp", "closed:16:1024"}, {"floor-grpc", "stream:262144:128"},
	} {
		t.Run(c.system, func(t *testing.T) {
			shape, err := load.ParseShape(c.shape)
			if err != nil {
				t.Fatal(err)
			}
			p := plan{dir: t.TempDir(), warmup: 100 * time.Millisecond, duration: 400 * time.Millisecond}
			r, err := p.measure(t.Context(), c.system, shape)
			if err != nil {
				t.Fatal(err)
			}
			if r.OpsPerSecond < 100 || r.Acked < uint64(r.OpsPerSecond*0.4) || r.P50 <= 0 || r.P99 < r.P50 || r.CPUPer100k <= 0 {
				t.Errorf("hardly what was measured: %+v", r)
			}
			if left, err := os.ReadDir(p.dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestServersThatLackRecordsOrHaveMoreAreFound(t *testing.T) {
	c, err := startCluster(t.Context(), "floor-tcp", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	}()
	cfg := load.Config{Shape: load.Shape{Inflight: 4, RecordSize: 100}, Duration: 100 * time.Millisecond}
	r, err := c.load(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel() // who is canceled does not wait for more to come
	for _, acked := range []uint64{r.Acked - 1, r.Acked + 1} {
		if err := c.settle(canceled, acked); err == nil {
			t.Errorf("the servers have %d records and were taken to have %d", r.Acked, acked)
		}
	}
}

func TestServerThatCannotStartSaysWhy(t *testing.T) {
	_, err := startCluster(t.Context(), "nothing", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), `there is no system "nothing"`) {
		t.Errorf("the error is %v", err)
	}
}

func TestShapesAreReadAsTheyArePrinted(t *testing.T) {
	for _, text := range []string{"closed:256:128", "stream:4194304:1024", "closed:64:1024:64", "read:16:8192"} {
		if shape, err := load.ParseShape(text); err != nil || shape.String() != text {
			t.Errorf("%s is read as %v, error %v", text, shape, err)
		}
	}
	for _, text := range []string{"", "closed:1", "closed:0:1", "open:1:1", "closed:1:1:1:1", "stream:a:1", "read:1:8192:2"} {
		if shape, err := load.ParseShape(text); err == nil {
			t.Errorf("%q was read as %v", text, shape)
		}
	}
}
