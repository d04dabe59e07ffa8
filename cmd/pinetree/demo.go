package main

import (
	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/demo"
)

func demoCommand() *cobra.Command {
	var cfg demo.Config
	c := &cobra.Command{
		Use: "demo", Short: "Show the whole system at work on this machine", Args: cobra.NoArgs,
		Long: `Start three storage nodes and a manager as processes in a temporary directory, ship a
real PostgreSQL log, kill the leader with SIGKILL and move the leadership meanwhile,
fence a writer by a second one, and compare what every replica gives back with the
source. Exit code 0 only if every byte is right.`,
	}
	c.Flags().BoolVar(&cfg.JSON, "json", false, "print one JSON object as the last line")
	c.Flags().BoolVar(&cfg.Keep, "keep", false, "leave the cluster running until interrupted, and say how to talk to it")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg.Out = cmd.OutOrStdout()
		return demo.Run(cmd.Context(), cfg)
	}
	return c
}
