package benchverbs

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/bench"
	"github.com/pinetree-db/pinetree/cmd/internal/benchread"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// readFlags are the settings of bench read that are not read as they are.
type readFlags struct {
	cfg    benchread.Config
	page   bench.Size
	levels []string
	bars   bool
	json   bool
}

func readCommand() *cobra.Command {
	f := readFlags{page: 8 << 10}
	c := &cobra.Command{
		Use: "read", Short: "Measure reading pages, one at a time or in batches", Args: cobra.NoArgs,
		Long: `Start three storage nodes and a manager as processes in a temporary directory, write
pages, and read them from this process in a closed loop. With --target the load goes to
a cluster that runs already, in a volume of its own which stays there.

--inflight, --read and --batch take several values: each combination is measured in
every round, the rounds in ever another order, so that a machine that is busy with
something else is so for all of them. What is printed are the medians of the rounds,
and the medians of the rounds' ratios.

With --echo a process of its own serves a bare gRPC service with a node's options:
"echo" sends as many bytes as a page has there and back, "fetch" asks for them in a
few bytes. The client has reads of single pages that are under way at once share calls;
--apart measures those that share none, too. --bars measures everything for which there is a bar.`,
	}
	flags := c.Flags()
	flags.Var(&f.page, "page-size", "size of each page")
	flags.IntVar(&f.cfg.Pages, "pages", 4096, "how many pages to write, of which random ones are read")
	flags.IntVar(&f.cfg.Patches, "patches", 0, "how many patches of random pages to write after them")
	flags.IntVar(&f.cfg.Back, "back", 0, "read the state so many patches before the newest")
	flags.StringSliceVar(&f.levels, "read", []string{"default"}, "how fresh: stale, default or consistent; several may be given")
	flags.IntSliceVar(&f.cfg.Inflight, "inflight", []int{16}, "reads under way at once; several may be given")
	flags.IntSliceVar(&f.cfg.Batches, "batch", []int{1}, "pages in a read; several may be given")
	flags.BoolVar(&f.cfg.Apart, "apart", false, "measure reads of single pages that share no calls, too")
	flags.BoolVar(&f.cfg.Echo, "echo", false, "measure a bare gRPC service, too")
	flags.BoolVar(&f.bars, "bars", false, "measure what there are bars for, instead of --read, --inflight, --batch, --apart and --echo")
	flags.IntVar(&f.cfg.Rounds, "rounds", 1, "how often each is measured")
	flags.DurationVar(&f.cfg.Duration, "duration", 3*time.Second, "how long to measure each in a round")
	flags.DurationVar(&f.cfg.Warmup, "warmup", 300*time.Millisecond, "how long to load before that")
	flags.StringVar(&f.cfg.Engine, "engine", "badger", "storage engine of the nodes: "+cli.Names(backends.Engines))
	flags.StringVar(&f.cfg.RaftLog, "raftlog", "segment", "raft log store of the nodes: "+cli.Names(backends.RaftLogs))
	flags.StringVar(&f.cfg.Dir, "dir", "", "where to make the temporary directory; the system's place for such when empty")
	flags.StringArrayVar(&f.cfg.NodeArgs, "node-arg", nil, "one more argument for each node's command line; may be repeated")
	flags.StringSliceVar(&f.cfg.Targets, "target", nil, "load the cluster with managers at these addresses instead of starting one")
	f.cfg.TLS.Flag(c)
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	c.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd) }
	return c
}

func (f *readFlags) run(cmd *cobra.Command) error {
	cfg := f.cfg
	for _, name := range f.levels {
		level, err := cli.Choose("read", name, cli.ReadLevels)
		if err != nil {
			return err
		}
		cfg.Levels = append(cfg.Levels, level)
	}
	if err := (backends.Storage{RaftLog: cfg.RaftLog, Engine: cfg.Engine}).Check(); err != nil {
		return err
	}
	cfg.PageBytes, cfg.Transport = int(f.page), "stream"
	for _, shape := range []string{"read", "inflight", "batch", "apart", "echo"} {
		if f.bars && cmd.Flags().Changed(shape) {
			return cli.Usagef("--%s is one of those that --bars sets", shape)
		}
	}
	for _, own := range []string{"engine", "raftlog", "dir", "node-arg"} {
		if len(cfg.Targets) > 0 && cmd.Flags().Changed(own) {
			return cli.Usagef("--%s is for a cluster that is started, and --target names one that runs", own)
		}
	}
	if f.bars {
		cfg = benchread.Bars(cfg)
	}
	if cfg.Say = cmd.ErrOrStderr(); f.json {
		cfg.Say = io.Discard
	}
	result, err := benchread.Run(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	if !f.json {
		return result.Print(cmd.OutOrStdout())
	}
	line, err := json.Marshal(result)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), string(line))
	return err
}
