package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/localcluster"
)

func devCommand() *cobra.Command {
	var cfg localcluster.Config
	c := &cobra.Command{
		Use: "dev", Short: "Run a whole cluster on this machine until interrupted", Args: cobra.NoArgs,
		Long: `Run a manager with its own etcd and storage nodes on this machine, each a process of
its own, until interrupted. Without --dir everything is in a temporary directory that
is deleted at the end.`,
	}
	c.Flags().IntVar(&cfg.Nodes, "nodes", 3, "how many storage nodes")
	c.Flags().StringVar(&cfg.Manager, "listen", cli.DefaultManager, "address of the manager")
	c.Flags().StringVar(&cfg.Dir, "dir", "", "directory that is kept, and gone on with the next time")
	cfg.TLS.Flag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if cfg.Nodes < 1 || cfg.Nodes > 26 {
			return cli.Usagef("--nodes %d: want 1 to 26", cfg.Nodes)
		}
		if cfg.Dir == "" {
			if cfg.Dir, err = os.MkdirTemp("", "pinetree-dev-"); err != nil {
				return err
			}
			defer func() { err = joined(err, os.RemoveAll(cfg.Dir)) }()
		}
		return runDev(cmd, cfg)
	}
	return c
}

func runDev(cmd *cobra.Command, cfg localcluster.Config) (err error) {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	cluster, err := localcluster.Start(ctx, cfg)
	if err != nil {
		if interrupted(ctx) {
			return nil
		}
		return err
	}
	defer func() { err = joined(err, cluster.Close()) }()
	fmt.Fprintf(out, "manager  %s  log %s\n", cluster.Manager.Addr, cluster.Manager.Log)
	for _, n := range cluster.Nodes {
		fmt.Fprintf(out, "%s   %s  log %s\n", n.Name, n.Addr, n.Log)
	}
	fmt.Fprintf(out, "\nTry, in another terminal:\n%s%s\nCtrl-C ends it.\n", cfg.TLS.Environment(), localcluster.Examples(cluster.Manager.Addr))
	return watch(cmd, cluster)
}

// watch waits for the end of the command. Nodes that end before are named, and
// the rest goes on.
func watch(cmd *cobra.Command, cluster *localcluster.Cluster) error {
	told := map[*localcluster.Process]bool{}
	for {
		select {
		case <-cmd.Context().Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
		if failed := cluster.Manager.Failure(); failed != nil {
			return failed
		}
		for _, n := range cluster.Nodes {
			if failed := n.Failure(); failed != nil && !told[n] {
				told[n] = true
				fmt.Fprintln(cmd.ErrOrStderr(), failed)
			}
		}
	}
}
