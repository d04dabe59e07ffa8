package benchverbs

import (
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/bench"
	"github.com/pinetree-db/pinetree/cmd/internal/benchback"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/engine"
)

// readBackFlags are the settings of bench readback.
type readBackFlags struct {
	bytes, batch, write, slice bench.Size
	dir                        string
	cfg                        benchback.Config
	json                       bool
}

func readBackCommand() *cobra.Command {
	f := readBackFlags{bytes: 1 << 30, batch: 64 << 10, write: 1 << 20, slice: 1 << 20}
	c := &cobra.Command{
		Use: "readback", Short: "Measure how fast the wal engine gives its log back from the disk", Args: cobra.NoArgs,
		Long: `Write a log with the wal engine, in this process, and read it back from its beginning
to its end, in slices, as tails that are behind and new replicas do: with its checksums
verified, and with nothing of it in memory. Beside it the same files are read plainly,
and looked at by nobody. The directory must be on a real disk, or there is nothing to
be measured.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := c.Flags()
	flags.Var(&f.bytes, "bytes", "how much log to write and read")
	flags.Var(&f.batch, "batch-size", "bytes of each batch")
	flags.Var(&f.write, "write-size", "how much is replayed by one write")
	flags.Var(&f.slice, "slice", "how much a reader takes before it asks anew")
	flags.IntVar(&f.cfg.Rounds, "rounds", 3, "how often each way to read is measured")
	flags.StringVar(&f.dir, "dir", "", "where to make the temporary directory; the system's place for such when empty")
	flags.BoolVar(&f.json, "json", false, "print one JSON document and nothing else")
	return c
}

func (f *readBackFlags) run(cmd *cobra.Command) (err error) {
	cfg := f.cfg
	cfg.Bytes, cfg.BatchBytes, cfg.WriteBytes, cfg.SliceBytes = int(f.bytes), int(f.batch), int(f.write), int(f.slice)
	if err := cfg.Check(); err != nil {
		return err
	}
	if cfg.Dir, err = os.MkdirTemp(f.dir, "pinetree-bench-readback-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cfg.Dir)) }()
	cfg.Open = func(dir string) (engine.Store, error) {
		return backends.Engines["wal"](dir, slog.New(slog.DiscardHandler))
	}
	if cfg.Say = cmd.ErrOrStderr(); f.json {
		cfg.Say = io.Discard
	}
	result, err := benchback.Run(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	if f.json {
		return cli.PrintJSON(cmd.OutOrStdout(), result)
	}
	return result.Print(cmd.OutOrStdout())
}
