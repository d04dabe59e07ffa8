package main

import (
	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/metaverbs"
)

func metaCommand() *cobra.Command {
	return metaverbs.Command(func() metaverbs.Flags { return &metaFlags{readFlags{level: "default"}} })
}

// metaFlags are those of commands on metadata.
type metaFlags struct{ readFlags }

// Reads implements metaverbs.Flags.
func (f *metaFlags) Reads(c *cobra.Command) { f.readFlags.flag(c, "default") }

// Writes implements metaverbs.Flags.
func (f *metaFlags) Writes(c *cobra.Command) { f.volumeFlags.flag(c) }

// Dial implements metaverbs.Flags.
func (f *metaFlags) Dial(cmd *cobra.Command) (*ship.Client, ship.ReadConfig, error) {
	cfg, err := f.config("")
	if err != nil {
		return nil, cfg, err
	}
	client, err := f.dial(cmd)
	return client, cfg, err
}
