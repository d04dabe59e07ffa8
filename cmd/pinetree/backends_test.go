package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
)

// TestADirectoryIsOfOneEngine opens the directory of each engine with each
// other one.
func TestADirectoryIsOfOneEngine(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	for _, made := range sortedKeys(engineFiles) {
		dir := nodeDir(t.TempDir())
		for _, used := range append([]string{made}, sortedKeys(engineFiles)...) {
			opened, err := storage{raftLog: "memory", engine: used}.open(dir, quiet)
			if used != made {
				if err == nil || !strings.Contains(err.Error(), "go on with --engine "+made) {
					t.Errorf("the directory of %s with --engine %s: %v", made, used, err)
				}
				continue
			}
			if err == nil {
				err = joined(opened.engines.Create(1, pinetree.Position{}), opened.close())
			}
			if err != nil || engineIn(dir.engine()) != made {
				t.Fatalf("%s: %v, and the files are those of %q", made, err, engineIn(dir.engine()))
			}
		}
	}
}
