package benchverbs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/bench"
	"github.com/pinetree-db/pinetree/cmd/internal/benchreplay"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/raftlog"
)

// replayFlags are the settings of bench replay.
type replayFlags struct {
	engines      []string
	raftLog, dir string
	bytes, patch bench.Size
	rounds       int
	cfg          benchreplay.Config
	json         bool
}

func replayCommand() *cobra.Command {
	f := replayFlags{bytes: 256 << 20, patch: 256}
	f.cfg.BatchBytes, f.cfg.EntryBytes = 64<<10, 1<<20
	c := &cobra.Command{
		Use: "replay", Short: "Measure how fast a replica replays its log after a restart", Args: cobra.NoArgs,
		Long: `Write a raft log of committed patches of pages, open it with an engine that has none
of them, and measure until the engine holds all of them on its disk: what a node does
after a crash, from the position that its engine had flushed. It runs in this process,
with one replica. Rounds of several engines are interleaved.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := c.Flags()
	flags.StringSliceVar(&f.engines, "engine", []string{"badger"}, "which storage engines: "+cli.Names(backends.Engines))
	flags.StringVar(&f.raftLog, "raftlog", "segment", "which raft log store: "+cli.Names(backends.RaftLogs))
	flags.Var(&f.bytes, "bytes", "how many bytes of patches to replay")
	flags.Var(&f.patch, "patch-size", "bytes of each patch, which is a record of its own")
	flags.IntVar(&f.cfg.Pages, "pages", 20_000, "how many pages of 8 KiB are patched, at random")
	flags.IntVar(&f.cfg.Hot, "hot", 0, "how often, of 100 times, one of the first hundredth of the pages is patched")
	flags.IntVar(&f.rounds, "rounds", 1, "how often each engine is measured")
	flags.StringVar(&f.dir, "dir", "", "where to make the stores' files, which are removed at the end; the system's temporary directory when empty")
	flags.BoolVar(&f.json, "json", false, "print one JSON document and nothing else")
	return c
}

func (f *replayFlags) run(cmd *cobra.Command) (err error) {
	for _, name := range f.engines {
		if _, err := cli.Choose("engine", name, backends.Engines); err != nil {
			return err
		}
		if name == "wal" || name == "memory" {
			return cli.Usagef("--engine %s: it keeps no pages, or not over a restart", name)
		}
	}
	if _, err := cli.Choose("raftlog", f.raftLog, backends.RaftLogs); err != nil {
		return err
	}
	if f.rounds < 1 || f.raftLog == "memory" {
		return cli.Usagef("--rounds must be positive, and the raft log on the disk")
	}
	f.cfg.Bytes, f.cfg.PatchBytes = int(f.bytes), int(f.patch)
	if err := f.cfg.Check(); err != nil {
		return cli.Usagef("%v", err)
	}
	dir, err := os.MkdirTemp(f.dir, "pinetree-bench-replay-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var results []benchreplay.Result
	for round := range f.rounds {
		for _, name := range f.engines {
			r, err := f.measure(cmd, name, backends.Dir(filepath.Join(dir, name+strconv.Itoa(round))))
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			results = append(results, r)
		}
	}
	if f.json {
		return cli.PrintJSON(cmd.OutOrStdout(), results)
	}
	return benchreplay.Table(cmd.OutOrStdout(), results)
}

// measure replays a log with one engine, in a directory that is gone afterwards.
func (f *replayFlags) measure(cmd *cobra.Command, name string, dir backends.Dir) (r benchreplay.Result, err error) {
	if err := os.Mkdir(string(dir), 0o755); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(string(dir))) }()
	r, err = benchreplay.Run(cmd.Context(), f.cfg, func() (raftlog.Store, engine.Store, error) {
		opened, err := backends.Storage{RaftLog: f.raftLog, Engine: name}.Open(dir, slog.New(slog.DiscardHandler))
		return opened.Log, opened.Engines, err
	})
	r.Engine = name
	return r, err
}
