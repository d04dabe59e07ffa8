package operator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func nodeCommand() *cobra.Command {
	return family("node", "Storage nodes: list, drain and remove them", nodeList(), nodeShow(), nodeDrain(), nodeUndrain(), nodeRemove())
}

func nodeList() *cobra.Command {
	return listing{
		use: "ls", short: "List the storage nodes and whether they are heard of", watch: true,
		long: `List the storage nodes.

A node is alive, silent (not heard of lately; nothing is decided yet) or dead. The
note says why one leads nothing, or what its drain or removal waits for.`,
		example: "  clustermgr node ls\n  clustermgr node ls --watch=1s\n  clustermgr node ls -o json",
		ask: func(ctx context.Context, m wirepb.ManagerClient, _ []string) (cli.Listing, error) {
			r, err := m.ListNodes(ctx, &wirepb.ListNodesRequest{})
			return nodesListing(r.GetNodes()), err
		},
	}.command()
}

func nodesListing(nodes []*wirepb.NodeInfo) cli.Listing {
	l := cli.Listing{
		JSON: nodesOf(nodes), Empty: "No storage node has registered yet; start one with `pinetree node`.",
		Columns: []string{"node", "address", "zone", "state", "silent for", "leads", "replicas", "fsync", "load", "note"},
	}
	for _, n := range nodes {
		l.Rows = append(l.Rows, []any{
			n.Node, n.Address, n.Zone, stateOf(n), fmt.Sprintf("%d ms", n.SilentMs), n.Leaders, n.Replicas, micros(n.FsyncUs), fmt.Sprintf("%.0f %%", float64(n.Load)/10), nodeNote(n),
		})
	}
	return l
}

// stateOf is a node's state with what is to become of it.
func stateOf(n *wirepb.NodeInfo) string {
	switch {
	case n.Leaving:
		return n.State + ", leaving"
	case n.Draining && n.Leaders == 0:
		return n.State + ", drained"
	case n.Draining:
		return n.State + ", draining"
	}
	return n.State
}

func nodeNote(n *wirepb.NodeInfo) string {
	var notes []string
	if n.QuarantineMs > 0 {
		notes = append(notes, fmt.Sprintf("in quarantine for another %.0f s", float64(n.QuarantineMs)/1000))
	}
	if n.Space != "" {
		notes = append(notes, "free space is below the mark "+n.Space)
	}
	if n.Note != "" {
		notes = append(notes, n.Note)
	}
	return strings.Join(notes, "; ")
}

// micros prints a latency, or a dash.
func micros(us uint32) string {
	if us == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f ms", float64(us)/1000)
}

func nodeShow() *cobra.Command {
	return listing{
		use: "show NODE", short: "Show a node, and the groups that have a replica on it", args: one("node"), complete: []completer{someNodes}, watch: true,
		example: "  clustermgr node show 2",
		ask: func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error) {
			n, err := findNode(ctx, m, id(args))
			if err != nil {
				return cli.Listing{}, err
			}
			groups, err := groupsOn(ctx, m, n.Node)
			if err != nil {
				return cli.Listing{}, err
			}
			l := nodesListing([]*wirepb.NodeInfo{n})
			shown := nodeShowJSON{nodeJSON: nodesOf([]*wirepb.NodeInfo{n})[0], Groups: []groupOnJSON{}}
			for _, g := range groups {
				shown.Groups = append(shown.Groups, groupOnJSON{g.Group, g.Leader == n.Node})
			}
			l.JSON = shown
			l.Below = append(l.Below, "", fmt.Sprintf("It has replicas of %d groups:%s", len(groups), groupsInWords(groups, n.Node)))
			return l, nil
		},
	}.command()
}

// mostGroups are how many groups of a node are named in a sentence.
const mostGroups = 40

// groupsInWords names groups, those with a star that the node leads.
func groupsInWords(groups []*wirepb.GroupInfo, node uint64) string {
	var words strings.Builder
	for i, g := range groups {
		if i == mostGroups {
			fmt.Fprintf(&words, " and %d more", len(groups)-i)
			break
		}
		fmt.Fprintf(&words, " %d", g.Group)
		if g.Leader == node {
			words.WriteByte('*')
		}
	}
	if len(groups) > 0 {
		words.WriteString(" (* led by it)")
	}
	return words.String()
}

func groupsOn(ctx context.Context, m wirepb.ManagerClient, node uint64) ([]*wirepb.GroupInfo, error) {
	r, err := m.ListGroups(ctx, &wirepb.ListGroupsRequest{})
	return slices.DeleteFunc(r.GetGroups(), func(g *wirepb.GroupInfo) bool {
		return !slices.ContainsFunc(g.Replicas, func(r *wirepb.ReplicaInfo) bool { return r.Node == node })
	}), err
}

func findNode(ctx context.Context, m wirepb.ManagerClient, node uint64) (*wirepb.NodeInfo, error) {
	r, err := m.ListNodes(ctx, &wirepb.ListNodesRequest{Node: node})
	if err != nil {
		return nil, err
	}
	for _, n := range r.Nodes {
		if n.Node == node {
			return n, nil
		}
	}
	return nil, givenUp{fmt.Errorf("there is no node %d; `clustermgr node ls` lists those that there are", node)}
}

func nodeDrain() *cobra.Command {
	return nodeOrder{
		use: "drain NODE", short: "Move all leaders off a node, before it is stopped",
		long: `Move all leaders off a node, before it is stopped or restarted.

The order is recorded first. The active manager then moves the leaders one by one,
each with a pause of some milliseconds, and the command tells how many are left.
The node keeps its replicas, and leads nothing until "node undrain", even after a
restart. The drain goes on when this command is interrupted.`,
		example: "  clustermgr node drain 2 && clustermgr safe-to-stop 2\n  clustermgr node drain 2 --no-wait",
		order: func(ctx context.Context, m wirepb.ManagerClient, node uint64) error {
			_, err := m.DrainNode(ctx, &wirepb.DrainNodeRequest{Node: node})
			return err
		},
		of:   "the drain",
		over: drained,
	}.command()
}

// drained tells whether a node leads nothing, or what is left. A manager that has
// just taken office knows of no leaders yet, so somebody else must be known to lead
// each group that has a replica on the node.
func drained(ctx context.Context, m wirepb.ManagerClient, n *wirepb.NodeInfo) (bool, string, error) {
	if !n.Draining {
		return false, "", givenUp{fmt.Errorf("node %d is not to be drained any more: somebody has undrained it", n.Node)}
	}
	if n.Leaders > 0 {
		return false, strings.TrimSuffix(fmt.Sprintf("%s still led: %s", count(n.Leaders, "group"), n.Note), ": "), nil
	}
	groups, err := groupsOn(ctx, m, n.Node)
	unled := uint32(0)
	for _, g := range groups {
		if g.Leader == 0 || g.Leader == n.Node {
			unled++
		}
	}
	return err == nil && unled == 0, fmt.Sprintf("%s with a replica there without another leader that is known", count(unled, "group")), err
}

func nodeUndrain() *cobra.Command {
	return nodeOrder{
		use: "undrain NODE", short: "Let a drained node lead again",
		long: `Let a drained node lead again.

Leaders come back to it by and by, for the sake of balance and of home zones.`,
		example: "  clustermgr node undrain 2",
		order: func(ctx context.Context, m wirepb.ManagerClient, node uint64) error {
			_, err := m.DrainNode(ctx, &wirepb.DrainNodeRequest{Node: node, Undrain: true})
			return err
		},
	}.command()
}

// nodeOrder is a verb that has something done to a node, and waits for it when
// over is given.
type nodeOrder struct {
	use, short, long, example string
	order                     func(ctx context.Context, m wirepb.ManagerClient, node uint64) error
	of                        string // what goes on
	over                      func(context.Context, wirepb.ManagerClient, *wirepb.NodeInfo) (done bool, waits string, err error)
}

func (o nodeOrder) command() *cobra.Command {
	var managers cli.Managers
	var output cli.Output
	var wait waiting
	c := &cobra.Command{
		Use: o.use, Short: o.short, Long: o.long, Example: o.example, Args: one("node"),
		ValidArgsFunction: completeArgs(&managers, []completer{someNodes}),
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		node := id(args)
		err := managers.Call(cmd.Context(), func(ctx context.Context, m wirepb.ManagerClient) error { return o.order(ctx, m, node) })
		if err == nil && o.over != nil && !wait.none {
			err = operation{
				name: fmt.Sprintf("%s of node %d", o.of, node), see: fmt.Sprintf("clustermgr node show %d", node),
				look: func(ctx context.Context, m wirepb.ManagerClient) (bool, string, error) {
					n, err := findNode(ctx, m, node)
					if err != nil {
						return false, "", err
					}
					return o.over(ctx, m, n)
				},
			}.until(cmd, &managers, wait.most)
		}
		if err != nil {
			return err
		}
		l, err := asked(cmd, &managers, func(ctx context.Context, m wirepb.ManagerClient, _ []string) (cli.Listing, error) {
			n, err := findNode(ctx, m, node)
			if err != nil {
				return cli.Listing{}, err
			}
			return nodesListing([]*wirepb.NodeInfo{n}), nil
		}, args)
		if err != nil {
			return err
		}
		return output.Print(cmd.OutOrStdout(), l)
	}
	managers.ClientFlag(c)
	output.Flag(c)
	completeFlags(c, &managers)
	if o.over != nil {
		wait.flag(c)
	}
	return c
}

func nodeRemove() *cobra.Command {
	var managers cli.Managers
	var output cli.Output
	var confirmation cli.Confirmation
	var wait waiting
	var stay bool
	c := &cobra.Command{
		Use: "remove NODE", Short: "Take a node out of the cluster for good", Args: one("node"),
		Long: `Take a node out of the cluster for good, whether it still runs or not.

The order is recorded first; it is refused when the other nodes cannot hold all
replicas. The active manager then moves the leaders off, puts a new replica on
another node into the place of each old one, and forgets the node when it has
none. Its id is never given again. The command tells what is left to do, and the
removal goes on when it is interrupted; --stay takes it back.`,
		Example:           "  clustermgr node remove 2\n  clustermgr node remove 2 --yes --no-wait\n  clustermgr node remove 2 --stay",
		ValidArgsFunction: completeArgs(&managers, []completer{someNodes}),
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		if !stay {
			if err := confirm(cmd, &managers, &confirmation, lossOfNode, args); err != nil {
				return err
			}
		}
		r, err := asked(cmd, &managers, func(ctx context.Context, m wirepb.ManagerClient, args []string) (*wirepb.RemoveNodeResponse, error) {
			return m.RemoveNode(ctx, &wirepb.RemoveNodeRequest{Node: id(args), Stay: stay})
		}, args)
		removed := r.GetRemoved()
		if err == nil && !removed && !stay && !wait.none {
			err = untilRemoved(cmd, &managers, id(args), wait.most)
			removed = err == nil
		}
		if err != nil {
			return err
		}
		return output.Print(cmd.OutOrStdout(), removal(id(args), removed, stay))
	}
	c.Flags().BoolVar(&stay, "stay", false, "the node is not to leave after all")
	managers.ClientFlag(c)
	output.Flag(c)
	confirmation.Flag(c)
	wait.flag(c)
	completeFlags(c, &managers)
	return c
}

func removal(node uint64, removed, stay bool) cli.Listing {
	state := "is leaving"
	switch {
	case removed:
		state = "is removed"
	case stay:
		state = "stays"
	}
	return cli.Listing{
		JSON: removalJSON{node, removed, !removed && !stay}, Columns: []string{"node", "state"}, Rows: [][]any{{node, state}},
	}
}

func lossOfNode(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Loss, error) {
	n, err := findNode(ctx, m, id(args))
	if err != nil {
		return cli.Loss{}, err
	}
	return cli.Loss{
		What: fmt.Sprintf("Node %d at %s, %s, leads %s and has %s; it leaves the cluster for good.", n.Node, n.Address, n.State,
			count(n.Leaders, "group"), count(n.Replicas, "replica")),
		Name: args[0],
	}, nil
}

// untilRemoved waits until the managers have forgotten a node.
func untilRemoved(cmd *cobra.Command, managers *cli.Managers, node uint64, most time.Duration) error {
	return operation{
		name: fmt.Sprintf("the removal of node %d", node), see: fmt.Sprintf("clustermgr node show %d", node),
		look: func(ctx context.Context, m wirepb.ManagerClient) (bool, string, error) {
			r, err := m.ListNodes(ctx, &wirepb.ListNodesRequest{})
			at := slices.IndexFunc(r.GetNodes(), func(n *wirepb.NodeInfo) bool { return n.Node == node })
			if err != nil || at < 0 {
				return err == nil, "", err
			}
			n := r.Nodes[at]
			if !n.Leaving {
				return false, "", givenUp{fmt.Errorf("node %d is not to leave any more: somebody has taken the removal back", node)}
			}
			return false, fmt.Sprintf("%s left to place elsewhere; %s", count(n.Replicas, "replica"), cmp.Or(n.Note, "going on")), nil
		},
	}.until(cmd, managers, most)
}

// count says how many there are of something.
func count(n uint32, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
