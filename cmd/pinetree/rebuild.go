package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/rebuild"
	"github.com/pinetree-db/pinetree/logservice"
)

// rebuildFlags say which node's engine is made anew.
type rebuildFlags struct {
	dir      string
	managers cli.Managers
	storage  backends.Storage
}

func rebuildCommand() *cobra.Command {
	var f rebuildFlags
	c := &cobra.Command{
		Use: "rebuild", Short: "Make a stopped node's damaged engine anew from its peers", Args: cobra.NoArgs,
		Long: `Make a stopped node's damaged engine anew from its peers.

The node must not run. Its raft logs stay, and with them everything that it has
acknowledged and voted; the replayed state of each of its replicas is fetched from
another replica of the same group, checked, and put into a new engine directory. The
damaged one is kept beside it as "engine.damaged-" and the time, for you to delete.
Until all replicas are there, nothing is changed: the command can be interrupted and
given again. Start the node afterwards as usual.`,
		Example: "  pinetree rebuild --dir /var/lib/pinetree/a --manager 10.0.0.9:7000",
	}
	flags := c.Flags()
	flags.StringVar(&f.dir, "dir", "", "the node's directory")
	flags.StringVar(&f.storage.RaftLog, "raftlog", "segment", "the node's raft log store: "+cli.Names(backends.RaftLogs))
	flags.StringVar(&f.storage.Engine, "engine", "badger", "the storage engine to make: "+cli.Names(backends.Engines))
	f.managers.ClientFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := cli.Required(cmd, "dir"); err != nil {
			return err
		}
		if err := f.storage.Check(); err != nil {
			return err
		}
		if f.storage.Engine == "memory" || f.storage.RaftLog == "memory" {
			return cli.Usagef("--engine and --raftlog: a store in memory has nothing on the disk that could be made anew, or from which; name what the node runs with")
		}
		return f.run(cmd)
	}
	return c
}

func (f *rebuildFlags) run(cmd *cobra.Command) (err error) {
	id, err := logservice.ReadIdentity(f.dir)
	if err != nil {
		return fmt.Errorf("%s is no node's directory: %w", f.dir, err)
	}
	dial, err := f.managers.TLS.Dial(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	dir := backends.Dir(f.dir)
	fresh := dir.Engine() + ".rebuilt"
	if err := os.RemoveAll(fresh); err != nil { // of an earlier try
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	// It holds the directory's lock: a node that runs is told apart here.
	log, err := backends.RaftLogs[f.storage.RaftLog](dir.RaftLog(), quiet)
	if err != nil {
		return fmt.Errorf("open the raft log; the node must not run: %w", err)
	}
	defer func() { err = joined(err, log.Close()) }()
	engines, err := backends.Engines[f.storage.Engine](fresh, quiet)
	if err != nil {
		return fmt.Errorf("make a new engine: %w", err)
	}
	n := rebuild.Node{
		ID: id.Node, Log: log, Engines: engines, Ask: f.managers.Call, Dial: dial,
		Tell: func(format string, args ...any) { fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...) },
	}
	made, err := n.Replicas(cmd.Context())
	if err = joined(err, engines.Close()); err != nil {
		return err
	}
	damaged := dir.Engine() + ".damaged-" + time.Now().UTC().Format("20060102T150405.000")
	if err := replaceDir(dir.Engine(), fresh, damaged); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d replicas of node %d are rebuilt; the damaged engine is kept in %s until you delete it; start the node now\n", made, id.Node, damaged)
	return nil
}

// replaceDir puts a directory into the place of another, which is kept under a
// new name, durably on return. A crash between the two leaves none in place, and
// the command can be given again.
func replaceDir(place, by, kept string) error {
	if err := os.Rename(place, kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(by, place); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(place))
	if err != nil {
		return err
	}
	return joined(parent.Sync(), parent.Close())
}
