package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
)

// report collects the figures of a run.
var report figures

type figures struct {
	mu   sync.Mutex
	list []figure
}

// add logs a figure and writes all of the run so far to the file that
// PINETREE_E2E_REPORT names.
func (r *figures) add(t *testing.T, f figure) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, f)
	t.Logf("%s\n%s", heading, f.row())
	path := os.Getenv("PINETREE_E2E_REPORT")
	if path == "" {
		return
	}
	data, err := json.MarshalIndent(r.list, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(data, '\n'), 0o644)
	}
	if err != nil {
		t.Errorf("the report that PINETREE_E2E_REPORT asks for: %v", err)
	}
}

// table is all figures of the run; empty when nothing was measured.
func (r *figures) table() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == 0 {
		return ""
	}
	lines := []string{heading}
	for _, f := range r.list {
		lines = append(lines, f.row())
	}
	return strings.Join(lines, "\n")
}
