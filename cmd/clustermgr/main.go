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

func main() { os.Exit(cli.Main(root(), "serve")) }

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "clustermgr",
		Short: "The cluster manager of Pinetree, and its operator's tool",
		Long: `Run a cluster manager with 'clustermgr serve', or ask one with the other commands.

Which cluster is asked say --manager, PINETREE_MANAGER, or the current context (see
'clustermgr context'). Every flag can also be given in the environment.
Listings take -o json and --watch; what destroys something asks first, or wants --yes.
Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  clustermgr node ls --watch                           who lives
  clustermgr group show 7                              why a group has, or has no leader
  clustermgr leader move 7 --to 3 --dry-run            what a move would do
  clustermgr node drain 2 && clustermgr safe-to-stop 2 before a restart
  clustermgr node remove 2                             out for good
  clustermgr events --follow                           what is decided, and why`,
	}
	c.AddCommand(serve.Command("serve"))
	c.AddCommand(operator.Commands()...)
	return c
}
