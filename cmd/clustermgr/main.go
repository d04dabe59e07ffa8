// Command clustermgr runs a cluster manager and is how operators talk to one.
// It only wires: what it does is in the packages of cmd/internal.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/operator"
	"github.com/pinetree-db/pinetree/cmd/internal/serve"
)

func main() { os.Exit(cli.Main(root())) }

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "clustermgr",
		Short: "The cluster manager of Pinetree, and its operator's tool",
		Long: `Run a cluster manager with 'clustermgr serve', or ask one with the other commands.

Every flag can also be given in the environment: --manager as PINETREE_MANAGER.
Exit codes: 0 done, 1 failed, 2 wrong usage.`,
	}
	c.AddCommand(serve.Command("serve"))
	c.AddCommand(operator.Commands()...)
	return c
}
