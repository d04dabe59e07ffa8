package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/logservice"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

func dumpCommand() *cobra.Command {
	var output cli.Output
	c := &cobra.Command{
		Use: "dump PATH", Short: "Show what is in a node's files, offline", Args: cobra.ExactArgs(1),
		Long: `Show what is in a node's directory, its identity file, its raft log or one segment of
it, or its engine's directory. The engine can be looked into only while no node uses
it. Damage is named with its place, after all that is sound; the exit code then is 1.`,
	}
	output.Flag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		d := dump{path: args[0]}
		err := d.read()
		if printErr := d.print(cmd, &output); printErr != nil {
			return joined(err, printErr)
		}
		return err
	}
	return c
}

// dump is what was found at a path. Scripts depend on its JSON.
type dump struct {
	path string

	Identity *logservice.Identity `json:"identity,omitempty"`
	Frames   []segment.FrameInfo  `json:"raftlog,omitempty"`
	Groups   []groupDump          `json:"groups,omitempty"`
}

// groupDump is a group's replayed state.
type groupDump struct {
	Group   pinetree.GroupID   `json:"group"`
	Index   pinetree.RaftIndex `json:"index"`
	Term    pinetree.RaftTerm  `json:"raft_term"`
	Volumes []volumeDump       `json:"volumes"`
}

type volumeDump struct {
	Volume    pinetree.VolumeID    `json:"volume"`
	Format    string               `json:"format"`
	Base      pinetree.LSN         `json:"base"`
	Truncated pinetree.LSN         `json:"truncated"`
	LSN       pinetree.LSN         `json:"lsn"`
	Term      pinetree.ComputeTerm `json:"compute_term"`
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

func (d *dump) readEngine(dir string) (err error) {
	store, err := backends.Engines[backends.EngineIn(dir)](dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("%w; is a node running on it?", err)
	}
	defer func() { err = joined(err, store.Close()) }()
	groups, err := store.Groups()
	if err != nil {
		return err
	}
	for _, id := range groups {
		state, err := store.Open(id)
		if err != nil {
			return err
		}
		d.Groups = append(d.Groups, dumpGroup(id, state.Position()))
	}
	return nil
}

func dumpGroup(id pinetree.GroupID, at pinetree.Position) groupDump {
	g := groupDump{Group: id, Index: at.Index, Term: at.Term, Volumes: []volumeDump{}}
	for _, v := range cli.SortedKeys(at.Volumes) {
		p := at.Volumes[v]
		g.Volumes = append(g.Volumes, volumeDump{v, p.Format.String(), p.Base, p.Truncated, p.LSN, p.Term()})
	}
	return g
}

func (d *dump) print(cmd *cobra.Command, output *cli.Output) error {
	out := cmd.OutOrStdout()
	if output.JSON() {
		return cli.PrintJSON(out, d)
	}
	if d.Identity != nil {
		if _, err := fmt.Fprintf(out, "node %d of cluster %s, instance %s\n", d.Identity.Node, d.Identity.Cluster, d.Identity.Instance); err != nil {
			return err
		}
	}
	if d.Frames != nil {
		if err := output.Print(out, framesListing(d.Frames)); err != nil {
			return err
		}
	}
	if d.Groups == nil {
		return nil
	}
	l := cli.Listing{Columns: []string{"group", "raft index", "raft term", "volume", "format", "base", "truncated", "replayed up to", "compute term"}, Empty: "No group."}
	for _, g := range d.Groups {
		if len(g.Volumes) == 0 {
			l.Rows = append(l.Rows, []any{g.Group, g.Index, g.Term, "–", "", "", "", "", ""})
		}
		for _, v := range g.Volumes {
			l.Rows = append(l.Rows, []any{g.Group, g.Index, g.Term, v.Volume, v.Format, v.Base, v.Truncated, v.LSN, v.Term})
		}
	}
	return output.Print(out, l)
}

func framesListing(frames []segment.FrameInfo) cli.Listing {
	l := cli.Listing{Columns: []string{"segment", "offset", "bytes", "kind", "group", "entries", "raft terms", "hard state", "start"}, Empty: "No frames."}
	for i := 0; i < len(frames); i++ {
		f, kind := frames[i], frames[i].Kind
		// An idle log is full of probes: a run of them is one row.
		for n := 2; f.Kind == "probe" && i+1 < len(frames) && frames[i+1].Kind == "probe"; n++ {
			i, kind = i+1, fmt.Sprintf("probe × %d", n)
		}
		row := []any{filepath.Base(f.File), f.Offset, f.Bytes, kind, f.Group, "", "", "", ""}
		if f.Last != 0 {
			row[5], row[6] = fmt.Sprintf("%d–%d", f.First, f.Last), fmt.Sprintf("%d–%d", f.FirstTerm, f.LastTerm)
		}
		if f.HardState != nil {
			row[7] = fmt.Sprintf("term %d, vote %d, commit %d", f.HardState.Term, f.HardState.Vote, f.HardState.Commit)
		}
		if f.Start != nil {
			row[8] = fmt.Sprintf("%d/%d", f.Start.Term, f.Start.Index)
		}
		l.Rows = append(l.Rows, row)
	}
	return l
}
