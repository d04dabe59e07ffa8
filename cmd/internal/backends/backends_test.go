package backends

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// TestADirectoryIsOfOneEngine opens the directory of each engine with each
// other one.
func TestADirectoryIsOfOneEngine(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	for _, made := range cli.SortedKeys(engineFiles) {
		dir := Dir(t.TempDir())
		for _, used := range append([]string{made}, cli.SortedKeys(engineFiles)...) {
			opened, err := Storage{RaftLog: "memory", Engine: used}.Open(dir, quiet)
			if used != made {
				if err == nil || !strings.Contains(err.Error(), "go on with --engine "+made) {
					t.Errorf("the directory of %s with --engine %s: %v", made, used, err)
				}
				continue
			}
			if err == nil {
				err = errors.Join(opened.Engines.Create(1, pinetree.Position{}), opened.Close())
			}
			if err != nil || EngineIn(dir.Engine()) != made {
				t.Fatalf("%s: %v, and the files are those of %q", made, err, EngineIn(dir.Engine()))
			}
		}
	}
}
