package benchverbs

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/bench"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/operator"
)

// shipFlags are the settings of bench ship that are not read as they are.
type shipFlags struct {
	cfg    bench.Config
	record bench.Size
	window bench.Size
	format string
	table  bool
	json   bool
	// compare are engines to compare, rounds how often each is measured.
	compare []string
	rounds  int
}

func shipCommand() *cobra.Command {
	f := shipFlags{record: 1 << 10}
	c := &cobra.Command{
		Use: "ship", Short: "Measure appending: from a writer to a majority's disks and back", Args: cobra.NoArgs,
		Long: `Start three storage nodes and a manager as processes in a temporary directory, load
them from this process, and print throughput, latency from append to acknowledgement,
and what it cost. With --target the load goes to a cluster that runs already, in
volumes of its own which stay there.

The load has one of three shapes:
  --inflight N   closed loop: N workers, each appends one record and waits until it
                 is durable; the workers of a volume share its writer
  --window BYTES stream: the writer of each volume appends as fast as its window of
                 unacknowledged bytes lets it
  --rate R       R records a second in all, whatever became of those before; the time
                 of each begins when it was due

At the end it waits until all replicas have replayed everything. With --table the
usual loads run one after the other, each on a cluster of its own. With --compare
one load runs with several engines, in turns, and the last one is what the others are
compared with: "none" keeps nothing, to tell what an engine costs, and there is no
other way to have it.`,
	}
	flags := c.Flags()
	flags.Var(&f.record, "record-size", "size of each record's payload")
	flags.StringVar(&f.cfg.WAL, "wal", "", "ship PostgreSQL's log over and over: a segment, a folder of them, or "+bench.SampleWAL+", which this binary has in it")
	flags.IntVar(&f.cfg.Workers, "inflight", 256, "closed loop with this many records outstanding")
	flags.Var(&f.window, "window", "stream with this many bytes outstanding for each writer")
	flags.IntVar(&f.cfg.Together, "together", 1, "how many records of a stream are appended by one call, as those of a transaction are")
	flags.BoolVar(&f.cfg.Compress, "compress", false, "compress batches that become smaller by it")
	flags.Float64Var(&f.cfg.Rate, "rate", 0, "records a second, instead of as many as there can be")
	flags.DurationVar(&f.cfg.Duration, "duration", 5*time.Second, "how long to measure")
	flags.DurationVar(&f.cfg.Warmup, "warmup", time.Second, "how long to load before that")
	flags.IntVar(&f.cfg.Groups, "groups", 1, "how many raft groups to load")
	flags.IntVar(&f.cfg.Volumes, "volumes", 0, "how many volumes, spread over the groups; one in each group when not given")
	flags.StringVar(&f.format, "format", "opaque", "how the engine reads payloads: opaque, or redo, where each record changes a key")
	flags.StringVar(&f.cfg.Engine, "engine", "badger", "storage engine of the nodes: "+cli.Names(backends.Engines))
	flags.StringVar(&f.cfg.RaftLog, "raftlog", "segment", "raft log store of the nodes: "+cli.Names(backends.RaftLogs))
	flags.StringVar(&f.cfg.Transport, "transport", "tcp", "how raft messages travel: "+cli.Names(backends.Transports))
	flags.StringVar(&f.cfg.Dir, "dir", "", "where to make the temporary directory; the system's place for such when empty")
	flags.StringArrayVar(&f.cfg.NodeArgs, "node-arg", nil, "one more argument for each node's command line; may be repeated")
	flags.StringSliceVar(&f.cfg.Targets, "target", nil, "load the cluster with managers at these addresses instead of starting one")
	f.cfg.TLS.Flag(c)
	flags.BoolVar(&f.table, "table", false, "run the usual loads instead of one")
	flags.BoolVar(&f.json, "json", false, "print one JSON object, in a line, for each load")
	flags.StringVar(&f.cfg.Profiles, "cpuprofile-dir", "", "store CPU profiles of the load and of each node here")
	flags.BoolVar(&f.cfg.Allocs, "allocs", false, "store profiles of memory there, too")
	flags.StringSliceVar(&f.compare, "compare", nil, "engines to compare instead of --engine, such as wal,none")
	flags.IntVar(&f.rounds, "rounds", 5, "with --compare: how often each engine is measured")
	for _, hidden := range []string{"cpuprofile-dir", "allocs"} {
		_ = flags.MarkHidden(hidden) // fails only for a flag that there is not
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd) }
	return c
}

func (f *shipFlags) run(cmd *cobra.Command) error {
	cfg, err := f.config(cmd)
	if err != nil {
		return err
	}
	if len(f.compare) > 0 {
		return f.runCompare(cmd, cfg)
	}
	loads := []bench.Config{cfg}
	if f.table {
		loads = bench.Usual(cfg)
	}
	var results []bench.Result
	for _, load := range loads {
		result, err := bench.Run(cmd.Context(), load)
		if err != nil {
			return err
		}
		results = append(results, result)
		if !f.json {
			continue
		}
		line, err := json.Marshal(result)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), string(line)); err != nil {
			return err
		}
	}
	if f.json {
		return nil
	}
	return bench.Table(cmd.OutOrStdout(), results)
}

// config is what the flags say.
func (f *shipFlags) config(cmd *cobra.Command) (bench.Config, error) {
	cfg := f.cfg
	if err := f.check(cmd); err != nil {
		return cfg, err
	}
	var err error
	if cfg.Format, err = operator.ParseFormat(f.format); err != nil {
		return cfg, err
	}
	if cfg.Volumes == 0 {
		cfg.Volumes = cfg.Groups
	}
	cfg.RecordBytes, cfg.WindowBytes = int(f.record), int(f.window)
	measuring(cfg.Engine, &cfg)
	// A script that reads the object does not read along.
	cfg.Say, cfg.Meter = cmd.ErrOrStderr(), !f.json
	if f.json {
		cfg.Say = io.Discard
	}
	return cfg, cfg.Check()
}

// check refuses flags that do not go together, and backends that there are not.
func (f *shipFlags) check(cmd *cobra.Command) error {
	given := func(names ...string) []string {
		return slices.DeleteFunc(names, func(name string) bool { return !cmd.Flags().Changed(name) })
	}
	if shapes := given("inflight", "window", "rate"); len(shapes) > 1 {
		return cli.Usagef("--%s are different shapes of load; choose one", strings.Join(shapes, " and --"))
	}
	if own := given("engine", "raftlog", "transport", "dir", "node-arg"); len(f.cfg.Targets) > 0 && len(own) > 0 {
		return cli.Usagef("--%s is for a cluster that is started, and --target names one that runs", own[0])
	}
	if made := given("record-size"); f.cfg.WAL != "" && len(made) > 0 {
		return cli.Usagef("--record-size is for records that are made, and --wal ships those of a log")
	}
	if one := given("engine", "target", "table", "cpuprofile-dir"); len(f.compare) > 0 && len(one) > 0 {
		return cli.Usagef("--%s does not go with --compare, which starts clusters with several engines for one load", one[0])
	}
	if shape := given("inflight", "window", "together", "rate", "compress", "record-size", "wal", "groups", "volumes", "cpuprofile-dir"); f.table && len(shape) > 0 {
		return cli.Usagef("--%s is for one load, and --table runs the usual ones", shape[0])
	}
	for _, engine := range append([]string{f.cfg.Engine}, f.compare...) {
		if err := (backends.Storage{RaftLog: f.cfg.RaftLog, Engine: engine, Measuring: true}).Check(); err != nil {
			return err
		}
	}
	_, err := cli.Choose("transport", f.cfg.Transport, backends.Transports)
	return err
}
