package operator

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func routeCommand() *cobra.Command {
	return listing{
		use: "route VOLUME", short: "Tell where a volume's replicas are and who leads", args: cobra.ExactArgs(1), complete: []completer{someVolumes}, watch: true,
		long: `Tell where a volume's replicas are, who leads, and how fresh each replica is: what
clients are told.`,
		example: "  clustermgr route pg",
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			r, err := m.Route(ctx, &wirepb.RouteRequest{VolumeName: args[0]})
			if err != nil {
				return cli.Listing{}, err
			}
			return routeListing(r), nil
		},
	}.command()
}

func routeListing(r *wirepb.RouteResponse) cli.Listing {
	route := routeJSON{Volume: volumeOf(r.Volume), Leader: r.Leader, Replicas: nodesOf(r.Replicas), States: []stateJSON{}}
	l := cli.Listing{Columns: []string{"node", "address", "zone", "state", "leads", "serves", "replayed up to", "behind for"}}
	for i, n := range r.Replicas {
		serves, applied, behind := "", "", ""
		if i < len(r.States) {
			s := r.States[i]
			route.States = append(route.States, stateJSON{s.Node, lsn(s.AppliedLsn), s.BehindMs, s.AgeMs, s.Serves})
			serves, applied, behind = yesNo(s.Serves), lsn(s.AppliedLsn).String(), fmt.Sprintf("%d ms", s.BehindMs)
		}
		l.Rows = append(l.Rows, []any{n.Node, n.Address, n.Zone, n.State, yesNo(n.Node == r.Leader), serves, applied, behind})
	}
	l.JSON = route
	return l
}

func leaseCommand() *cobra.Command {
	return family("lease", "Leases: who may answer default reads alone, and for how long", listing{
		use: "ls", short: "List the leases of all groups, by the manager's count", watch: true,
		long: `List the leases of all groups, by the manager's count.

The lease makes default reads cheap. Writes need none, once the leader has had its
first, and neither do consistent and stale reads. A group at rest needs none.`,
		example: "  clustermgr lease ls",
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

// errNotSafe is the answer no, which scripts see as exit code 1.
var errNotSafe = errors.New("it is not safe to stop the node")

func safeToStopCommand() *cobra.Command {
	var managers cli.Managers
	var output cli.Output
	c := &cobra.Command{
		Use: "safe-to-stop NODE", Short: "Tell whether a node can be stopped now, or what would be lost", Args: one("node"),
		Long: `Tell whether a node can be stopped now, or what would be lost: a group's quorum, its
spread over zones, a leader's lease.

The exit code is 0 when it is safe and 1 when it is not, so that scripts can wait
for it. Drain the node first; then nothing but its vote is missing while it is away.`,
		Example:           "  clustermgr node drain 2 && clustermgr safe-to-stop 2 && ssh host2 systemctl restart pinetree",
		ValidArgsFunction: completeArgs(&managers, []completer{someNodes}),
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		r, err := asked(cmd, &managers, func(ctx context.Context, m wirepb.ManagerClient, args []string) (*wirepb.SafeToStopResponse, error) {
			return m.SafeToStop(ctx, &wirepb.SafeToStopRequest{Node: id(args)})
		}, args)
		if err != nil {
			return err
		}
		if err := output.Print(cmd.OutOrStdout(), safetyListing(id(args), r)); err != nil {
			return err
		}
		if !r.Safe {
			return errNotSafe
		}
		return nil
	}
	managers.ClientFlag(c)
	output.Flag(c)
	completeFlags(c, &managers)
	return c
}

func safetyListing(node uint64, r *wirepb.SafeToStopResponse) cli.Listing {
	l := cli.Listing{
		JSON:    safetyJSON{node, r.Safe, append([]string{}, r.Reasons...), append([]string{}, r.Notes...)},
		Columns: []string{"node", "safe to stop", "why"},
	}
	l.Rows = append(l.Rows, []any{node, yesNo(r.Safe), ""})
	for _, reason := range r.Reasons {
		l.Rows = append(l.Rows, []any{"", "", reason})
	}
	for _, note := range r.Notes {
		l.Rows = append(l.Rows, []any{"", "", "no loss: " + note})
	}
	return l
}
