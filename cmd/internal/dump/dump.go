// Package dump is the command that shows what is in a node's files, offline, and
// changes none of them.
package dump

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/logservice"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

// Command is `pinetree dump`.
func Command() *cobra.Command {
	var output cli.Output
	var d dump
	c := &cobra.Command{
		Use: "dump PATH", Short: "Show what is in a node's files, offline", Args: cobra.ExactArgs(1),
		Long: `Show what is in a node's directory, its identity file, its raft log or one segment of
it, or its engine's directory: groups, volumes, and their metadata, each key with the
revisions of its making and its last change. Nothing is changed. The engine can be
looked into only while no node uses it. Of a badger engine that a crash has left a copy
is read, for which --scratch needs room. Damage is named with its place, after all that
is sound; the exit code then is 1.`,
		Example: "  pinetree dump /var/lib/pinetree/a\n  pinetree dump /var/lib/pinetree/a/engine --history -o json",
	}
	c.Flags().BoolVar(&d.history, "history", false, "also what each revision of metadata since the last compaction has changed")
	c.Flags().StringVar(&d.scratch, "scratch", "", "directory for a copy of the engine, where one is needed; the system's for temporary files when empty")
	output.Flag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		d.path = args[0]
		err := d.read()
		return errors.Join(err, d.print(cmd, &output))
	}
	return c
}

// dump is what was found at a path. Scripts depend on its JSON.
type dump struct {
	path, scratch string
	history       bool

	Identity *logservice.Identity `json:"identity,omitempty"`
	Frames   []segment.FrameInfo  `json:"raftlog,omitempty"`
	Groups   []groupDump          `json:"groups,omitempty"`
}

// read finds out what is at the path and reads it.
func (d *dump) read() error {
	info, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if filepath.Base(d.path) == logservice.IdentityFile {
			return d.readIdentity(filepath.Dir(d.path))
		}
		return d.readLog(d.path)
	}
	node := backends.Dir(d.path)
	var failed, found = error(nil), false
	for _, part := range []struct {
		there bool
		read  func() error
	}{
		{exists(filepath.Join(d.path, logservice.IdentityFile)), func() error { return d.readIdentity(d.path) }},
		{exists(node.RaftLog()), func() error { return d.readLog(node.RaftLog()) }},
		{holds(d.path, ".raftlog"), func() error { return d.readLog(d.path) }},
		{backends.EngineIn(node.Engine()) != "", func() error { return d.readEngine(node.Engine()) }},
		{backends.EngineIn(d.path) != "", func() error { return d.readEngine(d.path) }},
	} {
		if part.there {
			found, failed = true, errors.Join(failed, part.read())
		}
	}
	if !found {
		return fmt.Errorf("%s: nothing of Pinetree's is there; want a node's directory, its raft log, its engine or its identity file", d.path)
	}
	return failed
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func holds(dir, suffix string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			return true
		}
	}
	return false
}

func (d *dump) readIdentity(dir string) error {
	id, err := logservice.ReadIdentity(dir)
	if err == nil {
		d.Identity = &id
	}
	return err
}

func (d *dump) readLog(path string) error {
	return segment.Dump(path, func(f segment.FrameInfo) error {
		d.Frames = append(d.Frames, f)
		return nil
	})
}
