// Package operator is the verbs with which an operator looks at a cluster and
// orders it about: nodes, groups, volumes, leaders, leases, routes, events. They
// ask a cluster manager and know nothing else.
package operator

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Commands are all the verbs.
func Commands() []*cobra.Command {
	return []*cobra.Command{nodeCommand(), groupCommand(), volumeCommand(), leaderCommand(), leaseCommand(), routeCommand(), eventsCommand()}
}

// listing is a verb that asks the manager and prints the answer.
type listing struct {
	use, short, long string
	args             cobra.PositionalArgs
	flags            func(*cobra.Command)
	ask              func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error)
}

func (l listing) command() *cobra.Command {
	var managers cli.Managers
	var output cli.Output
	c := &cobra.Command{Use: l.use, Short: l.short, Long: l.long, Args: l.args}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		var answer cli.Listing
		err := managers.Call(cmd.Context(), func(ctx context.Context, m wirepb.ManagerClient) (err error) {
			answer, err = l.ask(ctx, m, args)
			return err
		})
		if err != nil {
			return err
		}
		return output.Print(cmd.OutOrStdout(), answer)
	}
	if l.flags != nil {
		l.flags(c)
	}
	managers.Flag(c)
	output.Flag(c)
	return c
}

// family is a command that only groups others.
func family(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(verbs...)
	return c
}

// number reads an id from the command line.
func number(what, text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, cli.Usagef("%s %q: want its number, as the listings print it", what, text)
	}
	return n, nil
}

// isGroup takes a group's number as the only argument.
func isGroup(_ *cobra.Command, args []string) error {
	for _, a := range args {
		if _, err := number("group", a); err != nil {
			return err
		}
	}
	return nil
}

// orDash prints nothing as a dash.
func orDash(n uint64) string {
	if n == 0 {
		return "–"
	}
	return strconv.FormatUint(n, 10)
}

func joined(ids []uint64) string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = strconv.FormatUint(id, 10)
	}
	return strings.Join(list, ",")
}

func lsn(n uint64) pinetree.LSN { return pinetree.LSN(n) }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func nodeCommand() *cobra.Command {
	return family("node", "Storage nodes", listing{
		use: "ls", short: "List the storage nodes and whether they are heard of",
		ask: func(ctx context.Context, m wirepb.ManagerClient, _ []string) (cli.Listing, error) {
			r, err := m.ListNodes(ctx, &wirepb.ListNodesRequest{})
			l := cli.Listing{
				JSON: nodesOf(r.GetNodes()), Empty: "No storage node has registered yet; start one with `pinetree node`.",
				Columns: []string{"node", "address", "zone", "state", "silent for", "leads", "replicas"},
			}
			for _, n := range r.GetNodes() {
				l.Rows = append(l.Rows, []any{n.Node, n.Address, n.Zone, n.State, fmt.Sprintf("%d ms", n.SilentMs), n.Leaders, n.Replicas})
			}
			return l, err
		},
	}.command())
}

func routeCommand() *cobra.Command {
	return listing{
		use: "route VOLUME", short: "Tell where a volume's replicas are and who leads", args: cobra.ExactArgs(1),
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			r, err := m.Route(ctx, &wirepb.RouteRequest{VolumeName: args[0]})
			if err != nil {
				return cli.Listing{}, err
			}
			l := cli.Listing{
				JSON:    map[string]any{"volume": volumeOf(r.Volume), "leader": r.Leader, "replicas": nodesOf(r.Replicas)},
				Columns: []string{"node", "address", "zone", "state", "leads"},
			}
			for _, n := range r.Replicas {
				l.Rows = append(l.Rows, []any{n.Node, n.Address, n.Zone, n.State, yesNo(n.Node == r.Leader)})
			}
			return l, nil
		},
	}.command()
}

func leaseCommand() *cobra.Command {
	return family("lease", "Leases", listing{
		use: "ls", short: "List the leases of all groups, by the manager's count",
		ask: func(ctx context.Context, m wirepb.ManagerClient, _ []string) (cli.Listing, error) {
			r, err := m.ListLeases(ctx, &wirepb.ListLeasesRequest{})
			l := cli.Listing{
				JSON: leasesOf(r.GetLeases()), Empty: "There is no group yet.",
				Columns: []string{"group", "holder", "appointment", "raft term", "left", "grants", "note"},
			}
			for _, e := range r.GetLeases() {
				l.Rows = append(l.Rows, []any{e.Group, orDash(e.Node), e.Appointment, e.RaftTerm, fmt.Sprintf("%d ms", e.LeftMs), e.Grants, e.Reason})
			}
			return l, err
		},
	}.command())
}
