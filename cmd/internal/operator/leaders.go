package operator

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func leaderCommand() *cobra.Command {
	return family("leader", "Leaders: who leads, and moves", leaderShow(), leaderMove())
}

func leaderShow() *cobra.Command {
	return listing{
		use: "show [GROUP]", short: "Show who leads, under which appointment and lease", watch: true,
		args: cobra.MatchAll(cobra.MaximumNArgs(1), are("group")), complete: []completer{someGroups},
		long: `Show who leads, of all groups or of one. Why a group has no leader says
"group show" in more words.`,
		example: "  clustermgr leader show\n  clustermgr leader show 7",
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			if len(args) == 1 {
				g, err := findGroup(ctx, m, id(args))
				if err != nil {
					return cli.Listing{}, err
				}
				return groupsListing([]*wirepb.GroupInfo{g}), nil
			}
			r, err := m.ListGroups(ctx, &wirepb.ListGroupsRequest{})
			return groupsListing(r.GetGroups()), err
		},
	}.command()
}

func leaderMove() *cobra.Command {
	var to uint64
	var dryRun bool
	var pause uint32
	return listing{
		use: "move GROUP", short: "Move a group's leadership to another replica", args: one("group"), complete: []completer{someGroups},
		long: `Move a group's leadership to another replica.

The target must be close to up to date; the move is refused with the reason when
it is not. Writers wait for at most --max-pause-ms; if the target has not taken
over by then, the old leader goes on. Nothing that was acknowledged is lost.`,
		example: "  clustermgr leader move 7\n  clustermgr leader move 7 --to 3 --dry-run\n  clustermgr leader move 7 --to 3",
		flags: func(c *cobra.Command) {
			c.Flags().Uint64Var(&to, "to", 0, "the node that is to lead; the manager chooses when it is not given")
			c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would happen, and how long writers would wait")
			c.Flags().Uint32Var(&pause, "max-pause-ms", 0, "for how long writers may wait; 0 is the manager's default")
		},
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			r, err := m.MoveLeader(ctx, &wirepb.MoveLeaderRequest{Group: id(args), To: to, DryRun: dryRun, MaxPauseMs: pause})
			if err != nil {
				return cli.Listing{}, err
			}
			if !r.Moved && !dryRun {
				return cli.Listing{}, fmt.Errorf("group %s: leadership stays with node %d: %s", args[0], r.From, r.Reason)
			}
			return moveListing(id(args), r, dryRun), nil
		},
	}.command()
}

func moveListing(group uint64, r *wirepb.MoveLeaderResponse, dryRun bool) cli.Listing {
	l := cli.Listing{JSON: moveOf(group, r)}
	if dryRun {
		l.Columns = []string{"group", "from", "to", "expected pause", "note"}
		l.Rows = [][]any{{group, orDash(r.From), orDash(r.To), micros(r.PredictedUs), r.Reason}}
		return l
	}
	l.Columns = []string{"group", "from", "to", "moved", "pause", "appointment", "raft term", "note"}
	l.Rows = [][]any{{group, orDash(r.From), orDash(r.To), yesNo(r.Moved), micros(r.PauseUs), r.Appointment, r.RaftTerm, r.Reason}}
	return l
}
