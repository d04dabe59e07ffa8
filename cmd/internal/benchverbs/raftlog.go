package benchverbs

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/benchlog"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// raftLogFlags are the settings of bench raftlog.
type raftLogFlags struct {
	stores []string
	dir    string
	cfg    benchlog.Config
	json   bool
}

func raftLogCommand() *cobra.Command {
	var f raftLogFlags
	c := &cobra.Command{
		Use: "raftlog", Short: "Compare the raft log stores on this machine's disk", Args: cobra.NoArgs,
		Long: `Save batches of entries in each raft log store, each batch with one sync, and print
how many entries a second became durable and what was written for them.

"syncs" and "written" are by the stores' own account, which not all of them keep;
"on disk" is by the account of the disk that the directory is on, so that whatever
else writes to it meanwhile counts. The store in memory is shown for comparison: it
loses everything with the process.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := c.Flags()
	flags.StringSliceVar(&f.stores, "stores", cli.SortedKeys(backends.RaftLogs), "which stores: "+cli.Names(backends.RaftLogs))
	flags.IntSliceVar(&f.cfg.Batches, "batches", []int{1, 16, 128}, "entries saved together")
	flags.IntSliceVar(&f.cfg.Sizes, "sizes", []int{128, 1 << 10, 16 << 10}, "bytes of each entry")
	flags.DurationVar(&f.cfg.Duration, "duration", time.Second, "how long to measure each")
	flags.IntVar(&f.cfg.WarmBytes, "warm", 320<<20, "bytes to write to each store before measuring")
	flags.StringVar(&f.dir, "dir", "", "where to make the stores' files, which are removed at the end; the system's temporary directory when empty")
	flags.BoolVar(&f.json, "json", false, "print one JSON document and nothing else")
	return c
}

func (f *raftLogFlags) run(cmd *cobra.Command) (err error) {
	for _, name := range f.stores {
		if _, err := cli.Choose("stores", name, backends.RaftLogs); err != nil {
			return err
		}
	}
	for _, n := range append(append([]int{}, f.cfg.Batches...), f.cfg.Sizes...) {
		if n < 1 || n > 1<<20 {
			return cli.Usagef("--batches and --sizes take numbers from 1 to 1,048,576, not %d", n)
		}
	}
	if f.cfg.Duration <= 0 || f.cfg.WarmBytes < 0 {
		return cli.Usagef("--duration must be positive and --warm not negative")
	}
	dir, err := os.MkdirTemp(f.dir, "pinetree-bench-raftlog-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f.cfg.Dir = dir
	var results []benchlog.Result
	for _, name := range f.stores {
		if err := f.measure(cmd, name, filepath.Join(dir, name), &results); err != nil {
			return err
		}
	}
	if f.json {
		return cli.PrintJSON(cmd.OutOrStdout(), results)
	}
	return raftLogTable(cmd.OutOrStdout(), results)
}

// measure opens one store and runs all measurements on it.
func (f *raftLogFlags) measure(cmd *cobra.Command, name, dir string, results *[]benchlog.Result) (err error) {
	store, err := backends.RaftLogs[name](dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("open the %s store: %w", name, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return benchlog.Run(cmd.Context(), name, store, f.cfg, func(r benchlog.Result) {
		*results = append(*results, r)
		if !f.json {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: batches of %d entries of %d bytes: %.0f entries/s\n", r.Store, r.Batch, r.Bytes, r.Entries)
		}
	})
}

func raftLogTable(w io.Writer, results []benchlog.Result) error {
	optional := func(format string, n *float64) string {
		if n == nil {
			return "–"
		}
		return fmt.Sprintf(format, *n)
	}
	l := cli.Listing{
		Columns: []string{"store", "entry bytes", "batch", "entries/s", "MB/s", "p50 µs", "p99 µs", "syncs/entry", "written/payload", "on disk/payload"},
		Empty:   "Nothing was measured.",
	}
	for _, r := range results {
		l.Rows = append(l.Rows, []any{
			r.Store, r.Bytes, r.Batch, fmt.Sprintf("%.0f", r.Entries), fmt.Sprintf("%.1f", r.MB), fmt.Sprintf("%.0f", r.P50Micro),
			fmt.Sprintf("%.0f", r.P99Micro), optional("%.4f", r.Syncs), optional("%.2f", r.Written), optional("%.2f", r.Disk),
		})
	}
	return l.Table(w)
}
