// Package benchverbs are the verbs of "pinetree bench": their flags, which of
// them go together, and how results are printed. It knows no load and measures
// nothing itself.
package benchverbs

import (
	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/bench"
	"github.com/pinetree-db/pinetree/cmd/internal/benchread"
)

// Command is "bench" with its verbs.
func Command() *cobra.Command {
	c := &cobra.Command{Use: "bench", Short: "Measure how fast it is, and at what cost"}
	c.AddCommand(shipCommand(), readCommand(), raftLogCommand(), replayCommand(), readBackCommand(), echoCommand())
	return c
}

// echoCommand is what bench read starts beside the cluster.
func echoCommand() *cobra.Command {
	page := bench.Size(8 << 10)
	var listen string
	c := &cobra.Command{
		Use: "echo", Short: "Serve a bare gRPC service for bench read", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return benchread.ServeEcho(cmd.Context(), listen, int(page))
		},
	}
	c.Flags().Var(&page, "page-size", "bytes of an answer")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to listen on")
	return c
}
