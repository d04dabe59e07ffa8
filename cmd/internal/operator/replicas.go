package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// changeCall is for how long one request waits for a change to be through.
	changeCall = 3 * time.Second
	// changeMost is for how long a change is waited for: a big snapshot takes long.
	changeMost = 24 * time.Hour
)

// replicaVerb is a verb that changes a group's replicas.
type replicaVerb struct {
	use, short, long string
	example          string
	nodes            int  // arguments after the group
	destroys         bool // a replica goes without another in its place
	request          func(nodes []uint64) *wirepb.ChangeReplicasRequest
}

const goesOn = `

The change is recorded first and then carried out by the cluster managers, so it
goes on when this command is interrupted; giving the same command again waits for
it. A group has one change at a time. See how far it is with "group show".`

func groupAddReplica() *cobra.Command {
	return replicaVerb{
		use: "add-replica GROUP NODE", short: "Give a group a replica on one more node", nodes: 1,
		example: "  clustermgr group add-replica 7 4",
		long: `Give a group a replica on one more node.

It gets the group's state by a snapshot, follows the log as a learner, and votes
when it has caught up. To give up an addition that does not come to an end, remove
the same node with "group remove-replica".` + goesOn,
		request: func(n []uint64) *wirepb.ChangeReplicasRequest { return &wirepb.ChangeReplicasRequest{Add: n[0]} },
	}.command()
}

func groupRemoveReplica() *cobra.Command {
	return replicaVerb{
		use: "remove-replica GROUP NODE", short: "Take a group's replica away from a node", nodes: 1, destroys: true,
		example: "  clustermgr group remove-replica 7 2\n  clustermgr group remove-replica 7 2 --yes",
		long: `Take a group's replica away from a node, and remove its files.

It is refused when too few of the others live. A leader hands over first. The
files on a node that does not live are removed when it comes back.` + goesOn,
		request: func(n []uint64) *wirepb.ChangeReplicasRequest { return &wirepb.ChangeReplicasRequest{Remove: n[0]} },
	}.command()
}

func groupReplaceReplica() *cobra.Command {
	return replicaVerb{
		use: "replace-replica GROUP OLD NEW", short: "Put a replica on a new node into the place of an old one", nodes: 2,
		example: "  clustermgr group replace-replica 7 2 4",
		long: `Put a replica on a new node into the place of an old one, which need not live.

The new one catches up first; then the group changes from one to the other in one
step, in which it is never less safe than before.` + goesOn,
		request: func(n []uint64) *wirepb.ChangeReplicasRequest {
			return &wirepb.ChangeReplicasRequest{Remove: n[0], Add: n[1]}
		},
	}.command()
}

func (v replicaVerb) command() *cobra.Command {
	var managers cli.Managers
	var output cli.Output
	var confirmation cli.Confirmation
	c := &cobra.Command{
		Use: v.use, Short: v.short, Long: v.long, Example: v.example, Args: cobra.MatchAll(cobra.ExactArgs(1+v.nodes), are("group", "node")),
		ValidArgsFunction: completeArgs(&managers, []completer{someGroups, someNodes, someNodes}[:1+v.nodes]),
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		var ids []uint64
		for _, text := range args {
			ids = append(ids, id([]string{text}))
		}
		if v.destroys {
			if err := confirm(cmd, &managers, &confirmation, lossOfReplica, args); err != nil {
				return err
			}
		}
		q := v.request(ids[1:])
		q.Group = ids[0]
		group, err := changeReplicas(cmd, &managers, q)
		if err != nil {
			return err
		}
		return output.Print(cmd.OutOrStdout(), groupsListing([]*wirepb.GroupInfo{group}))
	}
	managers.ClientFlag(c)
	output.Flag(c)
	if v.destroys {
		confirmation.Flag(c)
	}
	completeFlags(c, &managers)
	return c
}

func lossOfReplica(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Loss, error) {
	g, err := findGroup(ctx, m, id(args))
	if err != nil {
		return cli.Loss{}, err
	}
	return cli.Loss{
		What: fmt.Sprintf("Group %d has voters %v; the replica on node %s and its files are removed, and the group survives fewer failures.", g.Group, g.Voters, args[1]),
		Name: args[1],
	}, nil
}

// changeReplicas orders a change and waits for its end, telling on standard
// error what it waits for.
func changeReplicas(cmd *cobra.Command, managers *cli.Managers, q *wirepb.ChangeReplicasRequest) (*wirepb.GroupInfo, error) {
	var group *wirepb.GroupInfo
	err := managers.Call(cmd.Context(), func(ctx context.Context, m wirepb.ManagerClient) (err error) {
		ctx, cancel := context.WithTimeout(ctx, changeCall)
		defer cancel()
		group, err = m.ChangeReplicas(ctx, q)
		return err
	})
	if !errors.Is(err, context.DeadlineExceeded) || cmd.Context().Err() != nil {
		return group, err
	}
	err = operation{
		name: fmt.Sprintf("the change of group %d", q.Group), see: fmt.Sprintf("clustermgr group show %d", q.Group),
		look: func(ctx context.Context, m wirepb.ManagerClient) (bool, string, error) {
			if group, err = findGroup(ctx, m, q.Group); err != nil {
				return false, "", err
			}
			return group.Change == "", group.Change, nil
		},
	}.until(cmd, managers, changeMost)
	if err != nil {
		return nil, err
	}
	return group, ended(group, q)
}

// ended tells whether a group is as it was to be, now that nothing changes it.
func ended(g *wirepb.GroupInfo, q *wirepb.ChangeReplicasRequest) error {
	if q.Add != 0 && !slices.Contains(g.Voters, q.Add) || slices.Contains(g.Voters, q.Remove) {
		return fmt.Errorf("group %d: the change was not made, or was given up; its voters are %v, and `clustermgr events` tells why", g.Group, g.Voters)
	}
	return nil
}

func findGroup(ctx context.Context, m wirepb.ManagerClient, id uint64) (*wirepb.GroupInfo, error) {
	r, err := m.ListGroups(ctx, &wirepb.ListGroupsRequest{Group: id})
	if err != nil {
		return nil, err
	}
	if len(r.Groups) != 1 {
		return nil, fmt.Errorf("the manager tells of %d groups and was asked for group %d", len(r.Groups), id)
	}
	return r.Groups[0], nil
}

// progressOf says how far a replica is, by its leader's word.
func progressOf(g *wirepb.GroupInfo, p *wirepb.MemberProgress) string {
	switch {
	case p == nil || p.Node == g.Leader:
		return ""
	case !p.Active:
		return fmt.Sprintf("silent for %d ms", p.SilentMs)
	case p.Snapshot != 0:
		return fmt.Sprintf("gets a snapshot as of %d", p.Snapshot)
	}
	return fmt.Sprintf("has up to %d", p.Match)
}
