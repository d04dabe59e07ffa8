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
	return family("group", "Raft groups: who has replicas, who leads, and why", groupCreate(), groupList(), groupShow(),
		groupAddReplica(), groupRemoveReplica(), groupReplaceReplica(), groupDelete())
}

func groupCreate() *cobra.Command {
	var replicas uint32
	var zone string
	return listing{
		use: "create", short: "Make a group, its replicas spread over the zones",
		long: `Make a group, its replicas spread over the zones.

A volume makes its own group; a group made with this verb is for many small volumes
("volume create --group").`,
		example: "  clustermgr group create --replicas 3 --home-zone a",
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
		use: "ls", short: "List the groups, who leads them, and why not", watch: true,
		example: "  clustermgr group ls\n  clustermgr group ls --watch",
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
		use: "show GROUP", short: "Show a group's replicas, and in words why it has or has no leader", args: one("group"), complete: []completer{someGroups}, watch: true,
		long: `Show a group's replicas, and under them in words why the group has or has no
leader, lease and quorum, and what the manager waits for.

A replica that "leads unasked" won an election that the manager did not order; it
acknowledges nothing before the manager has activated it.`,
		example: "  clustermgr group show 7\n  clustermgr group show 7 --watch=500ms",
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			g, err := findGroup(ctx, m, id(args))
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
			for _, sentence := range wordsOf(g) {
				l.Below = append(l.Below, "· "+sentence)
			}
			return l, nil
		},
	}.command()
}

// wordsOf is what a manager says of a group; an old one says only what is wrong.
func wordsOf(g *wirepb.GroupInfo) []string {
	words := g.Words
	if len(words) == 0 {
		words = []string{cmp.Or(noteOf(g), "all is well")}
	}
	if len(g.Removed) > 0 && len(g.Words) > 0 {
		words = append(words, fmt.Sprintf("nodes %s may still have files of a former replica; they are removed when the nodes are heard of", joined(g.Removed)))
	}
	return words
}

func groupDelete() *cobra.Command {
	return listing{
		use: "delete GROUP", short: "Remove a group without volumes, and its replicas", args: one("group"), complete: []completer{someGroups},
		long: `Remove a group without volumes, and its replicas, for good.

The order is recorded; the nodes remove their files as soon as they are heard of.
A group with volumes is not removed: "volume delete" removes a volume with the
group that was made for it.`,
		example: "  clustermgr group delete 7\n  clustermgr group delete 7 --yes",
		loss: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Loss, error) {
			g, err := findGroup(ctx, m, id(args))
			if err != nil {
				return cli.Loss{}, err
			}
			return cli.Loss{What: fmt.Sprintf("Group %d has %s on nodes %s and %s; it is removed for good.", g.Group,
				count(uint32(len(g.Voters)), "replica"), joined(g.Voters), count(g.Volumes, "volume")), Name: args[0]}, nil
		},
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			_, err := m.DeleteGroup(ctx, &wirepb.DeleteGroupRequest{Group: id(args)})
			return cli.Listing{
				JSON: deletedGroupJSON{id(args), true}, Columns: []string{"group", "state"}, Rows: [][]any{{args[0], "deleted"}},
			}, err
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
	note := s.Lost
	if s.Stopped != "" {
		note = "stopped: " + s.Stopped
	}
	return []any{r.Node, role, s.RaftTerm, fmt.Sprintf("%d/%d", s.LastTerm, s.LastIndex), s.Committed, s.Applied, heard, progressOf(g, r.Progress), note}
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
