package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// volumeFlags find a volume.
type volumeFlags struct {
	managers cli.Managers
	volume   string
	zone     string
	route    string // file of the last route
}

func (f *volumeFlags) flag(c *cobra.Command) {
	f.managers.ClientFlag(c)
	c.Flags().StringVar(&f.volume, "volume", "", "the volume's name")
	c.Flags().StringVar(&f.zone, "zone", "", "where this process runs; stale and consistent reads prefer replicas there")
	c.Flags().StringVar(&f.route, "route-file", "", "file that holds the last route, to go by while no manager answers")
}

// dial finds the volume.
func (f *volumeFlags) dial(cmd *cobra.Command) (*ship.Client, error) {
	if err := cli.Required(cmd, "volume", "manager"); err != nil {
		return nil, err
	}
	dial, err := f.managers.TLS.Dial(slog.Default())
	if err != nil {
		return nil, err
	}
	return ship.Dial(cmd.Context(), ship.Config{Managers: f.managers.Addresses, Volume: f.volume, Zone: f.zone, RouteFile: f.route, Dial: dial})
}

// readFlags say how fresh a read must be and who may answer it.
type readFlags struct {
	volumeFlags
	level  string
	minLSN string
	stale  time.Duration
	node   uint64
}

func (f *readFlags) flag(c *cobra.Command, level string) {
	f.volumeFlags.flag(c)
	c.Flags().StringVar(&f.level, "read", level, "how fresh: stale (any replica), default (leader under its lease) or consistent (quorum)")
	c.Flags().StringVar(&f.minLSN, "min-lsn", "", "wait until the replica has replayed up to this LSN, such as 0/16B3740")
	c.Flags().DurationVar(&f.stale, "max-staleness", 0, "with --read stale: miss nothing that was acknowledged longer ago than this, such as 500ms")
	c.Flags().Uint64Var(&f.node, "node", 0, "the only node to ask")
}

// config reads the flags; at is empty or an LSN as of which to read.
func (f *readFlags) config(at string) (ship.ReadConfig, error) {
	cfg := ship.ReadConfig{Node: pinetree.NodeID(f.node), MaxStaleness: f.stale}
	var err error
	if cfg.Level, err = cli.Choose("read", f.level, cli.ReadLevels); err != nil {
		return cfg, err
	}
	if f.stale < 0 || f.stale > 0 && (f.stale < time.Millisecond || cfg.Level != pinetree.ReadStale) {
		return cfg, cli.Usagef("--max-staleness %s: it bounds --read stale, and is a millisecond at least", f.stale)
	}
	if cfg.MinLSN, err = lsnFlag("min-lsn", f.minLSN); err != nil {
		return cfg, err
	}
	cfg.At, err = lsnFlag("at", at)
	return cfg, err
}

func lsnFlag(name, text string) (pinetree.LSN, error) {
	if text == "" {
		return 0, nil
	}
	lsn, err := pinetree.ParseLSN(text)
	if err != nil {
		return 0, cli.Usagef("--%s: %w", name, err)
	}
	return lsn, nil
}

// reader finds the volume and a reader of it; the caller closes the client.
func (f *readFlags) reader(cmd *cobra.Command, at string) (*ship.Client, *ship.Reader, error) {
	cfg, err := f.config(at)
	if err != nil {
		return nil, nil, err
	}
	client, err := f.dial(cmd)
	if err != nil {
		return nil, nil, err
	}
	return client, client.Reader(cfg), nil
}

// interrupted tells that the user ended the command, which is no failure of one
// that runs until then.
func interrupted(ctx context.Context) bool { return ctx.Err() != nil }
