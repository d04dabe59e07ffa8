package operator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func groupCommand() *cobra.Command {
	return family("group", "Raft groups", groupCreate(), groupList(), groupShow(), groupAddReplica(), groupRemoveReplica(), groupReplaceReplica())
}

func groupCreate() *cobra.Command {
	var replicas uint32
	var zone string
	return listing{
		use: "create", short: "Make a group, its replicas spread over the zones",
		flags: func(c *cobra.Command) {
			c.Flags().Uint32Var(&replicas, "replicas", 3, "how many replicas")
			c.Flags().StringVar(&zone, "home-zone", "", "where its leader is preferred")
		},
		ask: func(ctx context.Context, m wirepb.ManagerClient, _ []string) (cli.Listing, error) {
			g, err := m.CreateGroup(ctx, &wirepb.CreateGroupRequest{Replicas: replicas, HomeZone: zone})
			if err != nil {
				return cli.Listing{}, err
			}
			return groupsListing([]*wirepb.GroupInfo{g}), nil
		},
	}.command()
}

func groupList() *cobra.Command {
	return listing{
		use: "ls", short: "List the groups, who leads them, and why not",
		ask: func(ctx context.Context, m wirepb.ManagerClient, _ []string) (cli.Listing, error) {
			r, err := m.ListGroups(ctx, &wirepb.ListGroupsRequest{})
			return groupsListing(r.GetGroups()), err
		},
	}.command()
}

func groupsListing(groups []*wirepb.GroupInfo) cli.Listing {
	l := cli.Listing{
		JSON: groupsOf(groups), Empty: "There is no group yet; make one with `clustermgr group create`, or a volume, which makes its own.",
		Columns: []string{"group", "voters", "leader", "lease", "raft term", "appointment", "volumes", "note"},
	}
	for _, g := range groups {
		l.Rows = append(l.Rows, []any{g.Group, joined(g.Voters), orDash(g.Leader), yesNo(g.Leased), g.RaftTerm, g.Appointment, g.Volumes, noteOf(g)})
	}
	return l
}

// noteOf is what an operator should know of a group besides its numbers.
func noteOf(g *wirepb.GroupInfo) string {
	notes := []string{g.Reason, g.Change}
	if len(g.Removed) > 0 {
		notes = append(notes, fmt.Sprintf("nodes %s may have files of a former replica", joined(g.Removed)))
	}
	return strings.Join(slices.DeleteFunc(notes, func(n string) bool { return n == "" }), "; ")
}

func groupShow() *cobra.Command {
	return listing{
		use: "show GROUP", short: "Show a group's replicas, and in words why it has or has no leader", args: cobra.MatchAll(cobra.ExactArgs(1), isGroup),
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			g, err := oneGroup(ctx, m, args[0])
			if err != nil {
				return cli.Listing{}, err
			}
			l := cli.Listing{
				JSON:    groupsOf([]*wirepb.GroupInfo{g})[0],
				Columns: []string{"node", "role", "raft term", "last entry", "committed", "applied", "quorum heard", "progress", "note"},
			}
			for _, r := range g.Replicas {
				l.Rows = append(l.Rows, replicaRow(g, r))
			}
			l.Rows = append(l.Rows, []any{"", "", "", "", "", "", "", "", cmp.Or(noteOf(g), "all is well")})
			return l, nil
		},
	}.command()
}

// replicaRow tells of one replica what its node last said.
func replicaRow(g *wirepb.GroupInfo, r *wirepb.ReplicaInfo) []any {
	s := r.Status
	if s == nil {
		return []any{r.Node, "unknown", "", "", "", "", "", progressOf(g, r.Progress), "its node has not reported"}
	}
	role, heard := roleOf(g, r), ""
	if s.Leader {
		role, heard = "leader", fmt.Sprintf("%d ms ago", s.QuorumAgeMs)
		switch {
		case g.Leader != r.Node:
			role = "leads unasked"
		case !s.Ready:
			role = "leader, not ready"
		case !s.Activated:
			role = "leader, not activated"
		}
	}
	return []any{r.Node, role, s.RaftTerm, fmt.Sprintf("%d/%d", s.LastTerm, s.LastIndex), s.Committed, s.Applied, heard, progressOf(g, r.Progress), cmp.Or(s.Stopped, s.Lost)}
}

// roleOf is what a replica that does not lead is.
func roleOf(g *wirepb.GroupInfo, r *wirepb.ReplicaInfo) string {
	switch {
	case r.Status.Removed:
		return "removed"
	case slices.Contains(g.Learners, r.Node):
		return "learner"
	case r.Status.Blank:
		return "blank"
	}
	return "follower"
}

func oneGroup(ctx context.Context, m wirepb.ManagerClient, text string) (*wirepb.GroupInfo, error) {
	id, err := number("group", text)
	if err != nil {
		return nil, err
	}
	return findGroup(ctx, m, id)
}

func leaderCommand() *cobra.Command { return family("leader", "Leaders", leaderShow(), leaderMove()) }

func leaderShow() *cobra.Command {
	return listing{
		use: "show [GROUP]", short: "Show who leads, under which appointment and lease", args: cobra.MatchAll(cobra.MaximumNArgs(1), isGroup),
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			var groups []*wirepb.GroupInfo
			if len(args) == 1 {
				g, err := oneGroup(ctx, m, args[0])
				if err != nil {
					return cli.Listing{}, err
				}
				groups = append(groups, g)
			} else {
				r, err := m.ListGroups(ctx, &wirepb.ListGroupsRequest{})
				if err != nil {
					return cli.Listing{}, err
				}
				groups = r.Groups
			}
			return groupsListing(groups), nil
		},
	}.command()
}

func leaderMove() *cobra.Command {
	var to uint64
	var dryRun bool
	var pause uint32
	return listing{
		use: "move GROUP", short: "Move a group's leadership to another replica", args: cobra.MatchAll(cobra.ExactArgs(1), isGroup),
		long: `Move a group's leadership to another replica.

The target must be close to up to date; the move is refused with the reason when
it is not. Writers wait for at most --max-pause-ms; if the target has not taken
over by then, the old leader goes on. Nothing that was acknowledged is lost.`,
		flags: func(c *cobra.Command) {
			c.Flags().Uint64Var(&to, "to", 0, "the node that is to lead; the manager chooses when it is not given")
			c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would happen")
			c.Flags().Uint32Var(&pause, "max-pause-ms", 0, "for how long writers may wait; 0 is the manager's default")
		},
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			id, err := number("group", args[0])
			if err != nil {
				return cli.Listing{}, err
			}
			r, err := m.MoveLeader(ctx, &wirepb.MoveLeaderRequest{Group: id, To: to, DryRun: dryRun, MaxPauseMs: pause})
			if err != nil {
				return cli.Listing{}, err
			}
			if !r.Moved && !dryRun {
				return cli.Listing{}, fmt.Errorf("group %d: leadership stays with node %d: %s", id, r.From, r.Reason)
			}
			return cli.Listing{
				JSON:    moveOf(id, r),
				Columns: []string{"group", "from", "to", "moved", "pause", "appointment", "raft term", "note"},
				Rows: [][]any{{id, orDash(r.From), orDash(r.To), yesNo(r.Moved), fmt.Sprintf("%.1f ms", float64(r.PauseUs)/1000),
					r.Appointment, r.RaftTerm, r.Reason}},
			}, nil
		},
	}.command()
}
