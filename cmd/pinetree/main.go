// Command pinetree runs Pinetree: storage nodes, the cluster manager, a whole
// cluster on one machine, and the tools that ship logs, read them back and look
// into files. It chooses the backends and otherwise only wires and prints.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/benchverbs"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/dump"
	"github.com/pinetree-db/pinetree/cmd/internal/serve"
)

func main() { os.Exit(cli.Main(root(), "node", "manager")) }

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "pinetree",
		Short: "The storage side of a database with separated compute and storage",
		Long: `Pinetree takes a database's redo log over gRPC, makes it durable on a majority of
replicas in LSN order, replays it, and gives pages, keys and the log back.

See it work with 'pinetree demo'. Run a cluster on this machine with 'pinetree dev'.
Every flag can also be given in the environment: --manager as PINETREE_MANAGER.
Exit codes: 0 done, 1 failed, 2 wrong usage.`,
	}
	manager := serve.Command("manager")
	c.AddCommand(demoCommand(), devCommand(), nodeCommand(), manager,
		shipCommand(), tailCommand(), keyCommand(), pageCommand(), metaCommand(), benchverbs.Command(), dump.Command(), rebuildCommand())
	return c
}
