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

// TestAnEngineThatKeepsNothingIsNeverAnAccident: it takes a setting that no list
// and no help names, and a directory in which there was nothing before.
func TestAnEngineThatKeepsNothingIsNeverAnAccident(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	s, dir := Storage{RaftLog: "segment", Engine: "none"}, Dir(t.TempDir())
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "loses everything") || strings.Contains(cli.Names(Engines), "none") {
		t.Errorf("without being told that it is for measuring: %v; there are %s", err, cli.Names(Engines))
	}
	if opened, err := s.Open(dir, quiet); err == nil {
		t.Errorf("it was opened: %v", opened.Close())
	}
	s.Measuring = true
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	opened, err := s.Open(dir, quiet)
	if err == nil {
		err = opened.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := s.Open(dir, quiet); err == nil || !strings.Contains(err.Error(), "empty directory") {
		t.Errorf("a directory that was used before: %v, %v", opened, err)
	}
}
