package footprint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestOnlyWhatIsInFilesCounts makes a file that is longer than what is in it.
func TestOnlyWhatIsInFilesCounts(t *testing.T) {
	dir := t.TempDir()
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, size := range map[string]int{filepath.Join(dir, "a"): 300 << 10, filepath.Join(below, "b"): 200 << 10} {
		if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(below, "b"), 64<<20); err != nil {
		t.Fatal(err)
	}
	const want, slack = 500 << 10, 64 << 10 // a file system's blocks are larger than what is counted in
	used, err := Used(dir)
	if err != nil || used < want || used > want+slack {
		t.Errorf("%d bytes, %v, want %d", used, err, want)
	}
	if _, err := Used(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(Collector(map[string]string{"engine": dir, "raftlog": filepath.Join(dir, "none")}))
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || len(families[0].Metric) != 1 {
		t.Fatalf("%v, %v, want one gauge", families, err)
	}
	gauge := families[0].Metric[0]
	if gauge.Label[0].GetValue() != "engine" || gauge.Gauge.GetValue() != float64(used) {
		t.Errorf("the gauge is %v, want %d of the engine", gauge, used)
	}
}
