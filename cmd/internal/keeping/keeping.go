// Package keeping is the verbs about what is kept of a volume: its settings, its slots,
// truncation. They call the volume's leader, and know nothing of the manager but that
// it knows where that is.
package keeping

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// A Completion prepares a command whose first argument is a volume for the shell.
type Completion func(c *cobra.Command, managers *cli.Managers)

// Verbs are those of `clustermgr volume`.
func Verbs(complete Completion) []*cobra.Command {
	slots := &cobra.Command{Use: "slot", Short: "Slots: readers by name, for whom the log of a volume is kept"}
	for _, v := range []verb{slotList(), slotPut(), slotDrop()} {
		slots.AddCommand(v.command(complete))
	}
	return []*cobra.Command{volumeSet().command(complete), slots, volumeTruncate().command(complete)}
}

// keeper calls the leader of a volume.
type keeper struct {
	client *ship.Client
	volume uint64
}

// A verb is an order about what is kept of a volume, which its leader carries out.
type verb struct {
	use, short, long, example string
	args                      cobra.PositionalArgs
	flags                     func(*cobra.Command)
	loss                      func(args []string) cli.Loss // what is to be confirmed; nil when nothing is
	ask                       func(ctx context.Context, c *cobra.Command, k keeper, args []string) (cli.Listing, error)
}

func (v verb) command(complete Completion) *cobra.Command {
	var managers cli.Managers
	var output cli.Output
	var confirmation cli.Confirmation
	c := &cobra.Command{Use: v.use, Short: v.short, Long: v.long, Example: v.example, Args: v.args}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		if v.loss != nil {
			if err := confirmation.Ask(cmd, v.loss(args)); err != nil {
				return err
			}
		}
		l, err := withVolume(cmd.Context(), &managers, args[0], func(ctx context.Context, k keeper) (cli.Listing, error) { return v.ask(ctx, cmd, k, args) })
		if err != nil {
			return err
		}
		return output.Print(cmd.OutOrStdout(), l)
	}
	if v.flags != nil {
		v.flags(c)
	}
	managers.ClientFlag(c)
	output.Flag(c)
	if v.loss != nil {
		confirmation.Flag(c)
	}
	complete(c, &managers)
	return c
}

// withVolume calls fn with a client of a volume, found by its name.
func withVolume[A any](ctx context.Context, managers *cli.Managers, name string, fn func(context.Context, keeper) (A, error)) (answer A, err error) {
	dial, err := managers.TLS.Dial(slog.New(slog.DiscardHandler))
	if err != nil {
		return answer, err
	}
	client, err := ship.Dial(ctx, ship.Config{Managers: managers.Addresses, Volume: name, Dial: dial, RetryFor: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return answer, err
	}
	defer client.Close()
	return fn(ctx, keeper{client, uint64(client.Volume())})
}

// order has the leader do something.
func (k keeper) order(ctx context.Context, what string, call func(context.Context, wirepb.VolumesClient) error) error {
	return k.client.OnLeader(ctx, what, func(ctx context.Context, conn *grpc.ClientConn) error {
		return call(ctx, wirepb.NewVolumesClient(conn))
	})
}

// state is what a replica says of the volume; the leader, unless any will do.
func (k keeper) state(ctx context.Context, level pinetree.ReadLevel) (*wirepb.StateResponse, error) {
	r := k.client.Reader(ship.ReadConfig{Level: level})
	return ship.Ask(ctx, r, "state", func(ctx context.Context, conn *grpc.ClientConn) (*wirepb.StateResponse, error) {
		return wirepb.NewReadsClient(conn).State(ctx, &wirepb.StateRequest{Volume: k.volume, Options: r.Options()})
	})
}

func volumeSet() verb {
	var keepFor time.Duration
	var readRate uint64
	var maxTails uint32
	var keepBytes, maxBytes, ingestRate, metaBytes cli.Size
	return verb{
		use: "set NAME", short: "Set how much of a volume is kept and what it may use", args: cobra.ExactArgs(1),
		long: `Set how much of a volume is kept and what it may use. What is not named stays as it
is; zero takes a limit away.

With --keep-for and --keep-bytes, what either of them gives up goes: the log, and the
versions by which older states are read. What a slot holds stays all the same.`,
		example: "  clustermgr volume set pg --keep-for 24h --keep-bytes 2GiB\n  clustermgr volume set pg --max-bytes 10GiB --ingest-rate 32MiB\n  clustermgr volume set pg --keep-bytes 0",
		flags: func(c *cobra.Command) {
			c.Flags().DurationVar(&keepFor, "keep-for", 0, "how long log and old versions are kept, such as 24h")
			c.Flags().Var(&keepBytes, "keep-bytes", "how much log is kept, such as 2GiB")
			c.Flags().Var(&maxBytes, "max-bytes", "how much log there may be, held by slots or not; writers are refused above it")
			c.Flags().Var(&ingestRate, "ingest-rate", "how much log a second is taken in")
			c.Flags().Uint64Var(&readRate, "read-rate", 0, "how many reads a second each node answers")
			c.Flags().Uint32Var(&maxTails, "max-tails", 0, "how many tails each node has open")
			c.Flags().Var(&metaBytes, "meta-bytes", "how much metadata is kept, history included")
		},
		ask: func(ctx context.Context, c *cobra.Command, k keeper, _ []string) (cli.Listing, error) {
			if keepFor < 0 || keepFor > 0 && keepFor < time.Millisecond {
				return cli.Listing{}, cli.Usagef("--keep-for %s: a millisecond is the least, and 0 is for ever", keepFor)
			}
			old, err := k.state(ctx, pinetree.ReadDefault)
			if err != nil {
				return cli.Listing{}, err
			}
			s := old.GetSettings()
			for flag, set := range map[string]func(){
				"keep-for": func() { s.KeepMs = uint64(keepFor.Milliseconds()) }, "keep-bytes": func() { s.KeepBytes = uint64(keepBytes) },
				"max-bytes": func() { s.MaxBytes = uint64(maxBytes) }, "ingest-rate": func() { s.IngestRate = uint64(ingestRate) },
				"read-rate": func() { s.ReadRate = readRate }, "max-tails": func() { s.MaxTails = maxTails }, "meta-bytes": func() { s.MetaBytes = uint64(metaBytes) },
			} {
				if c.Flags().Changed(flag) {
					set()
				}
			}
			err = k.order(ctx, "settings of the volume", func(ctx context.Context, v wirepb.VolumesClient) error {
				_, err := v.SetVolume(ctx, &wirepb.SetVolumeRequest{Volume: k.volume, Settings: s})
				return err
			})
			return settingsListing(s), err
		},
	}
}

func settingsListing(s *wirepb.VolumeSettings) cli.Listing {
	l := cli.Listing{JSON: settingsOf(s), Columns: []string{"setting", "limit"}}
	row := func(name string, set bool, value any) {
		if !set {
			value = "none"
		}
		l.Rows = append(l.Rows, []any{name, value})
	}
	row("keep for", s.GetKeepMs() > 0, time.Duration(s.GetKeepMs())*time.Millisecond)
	row("keep bytes", s.GetKeepBytes() > 0, cli.Size(s.GetKeepBytes()))
	row("max bytes", s.GetMaxBytes() > 0, cli.Size(s.GetMaxBytes()))
	row("ingest rate", s.GetIngestRate() > 0, cli.Size(s.GetIngestRate()).String()+"/s")
	row("read rate", s.GetReadRate() > 0, fmt.Sprintf("%d/s", s.GetReadRate()))
	row("max tails", s.GetMaxTails() > 0, s.GetMaxTails())
	row("meta bytes", s.GetMetaBytes() > 0, cli.Size(s.GetMetaBytes()))
	return l
}

func volumeTruncate() verb {
	var to string
	return verb{
		use: "truncate NAME", short: "Give up a volume's log and old versions up to an LSN", args: cobra.ExactArgs(1),
		long: `Give up a volume's log and old versions up to an LSN, whatever its settings keep, but
nothing that a slot holds. The newest state of all pages and keys stays.`,
		example: "  clustermgr volume truncate pg --to 0/16B3740\n  clustermgr volume truncate pg --to 0/16B3740 --yes",
		flags:   func(c *cobra.Command) { c.Flags().StringVar(&to, "to", "", "the LSN up to which it goes") },
		loss: func(args []string) cli.Loss {
			return cli.Loss{What: fmt.Sprintf("The log of volume %s up to %s goes for good, and with it all states before.", args[0], to), Name: args[0]}
		},
		ask: func(ctx context.Context, _ *cobra.Command, k keeper, args []string) (cli.Listing, error) {
			lsn, err := pinetree.ParseLSN(to)
			if err != nil {
				return cli.Listing{}, cli.Usagef("--to: %w", err)
			}
			var r *wirepb.TruncateVolumeResponse
			err = k.order(ctx, "truncation of the volume", func(ctx context.Context, v wirepb.VolumesClient) (err error) {
				r, err = v.TruncateVolume(ctx, &wirepb.TruncateVolumeRequest{Volume: k.volume, Lsn: uint64(lsn)})
				return err
			})
			if err != nil {
				return cli.Listing{}, err
			}
			at := pinetree.LSN(r.Truncated)
			return cli.Listing{
				JSON:    truncatedJSON{args[0], at, r.KeptBecause},
				Columns: []string{"name", "truncated up to", "the rest is kept because"}, Rows: [][]any{{args[0], at, r.KeptBecause}},
			}, nil
		},
	}
}
