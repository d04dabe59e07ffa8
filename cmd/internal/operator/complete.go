package operator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// completeTimeout is for how long a shell may wait for what a word can become.
const completeTimeout = 500 * time.Millisecond

// completer asks a manager what a word can become.
type completer func(ctx context.Context, m wirepb.ManagerClient) ([]cobra.Completion, error)

func someNodes(ctx context.Context, m wirepb.ManagerClient) ([]cobra.Completion, error) {
	r, err := m.ListNodes(ctx, &wirepb.ListNodesRequest{})
	var found []cobra.Completion
	for _, n := range r.GetNodes() {
		found = append(found, cobra.CompletionWithDesc(fmt.Sprint(n.Node), fmt.Sprintf("%s, zone %s, %s", n.Address, n.Zone, n.State)))
	}
	return found, err
}

func someGroups(ctx context.Context, m wirepb.ManagerClient) ([]cobra.Completion, error) {
	r, err := m.ListGroups(ctx, &wirepb.ListGroupsRequest{})
	var found []cobra.Completion
	for _, g := range r.GetGroups() {
		found = append(found, cobra.CompletionWithDesc(fmt.Sprint(g.Group), fmt.Sprintf("led by %s, replicas on %s", orDash(g.Leader), joined(g.Voters))))
	}
	return found, err
}

func someVolumes(ctx context.Context, m wirepb.ManagerClient) ([]cobra.Completion, error) {
	r, err := m.ListVolumes(ctx, &wirepb.ListVolumesRequest{})
	var found []cobra.Completion
	for _, v := range r.GetVolumes() {
		found = append(found, cobra.CompletionWithDesc(v.Name, fmt.Sprintf("volume %d in group %d", v.Volume, v.Group)))
	}
	return found, err
}

// someKinds are the kinds of the events that are kept.
func someKinds(ctx context.Context, m wirepb.ManagerClient) ([]cobra.Completion, error) {
	r, err := m.ListEvents(ctx, &wirepb.ListEventsRequest{})
	var found []cobra.Completion
	for _, e := range r.GetEvents() {
		found = append(found, e.Kind)
	}
	slices.Sort(found)
	return slices.Compact(found), err
}

// completeArgs completes the arguments of a command; in silence, for the shell
// prints nothing in the middle of a line.
func completeArgs(managers *cli.Managers, args []completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(given) >= len(args) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completion(cmd, managers, args[len(given)], begun)
	}
}

// completeFlags completes the values of flags that name nodes, groups or kinds.
func completeFlags(c *cobra.Command, managers *cli.Managers) {
	for name, from := range map[string]completer{"to": someNodes, "node": someNodes, "group": someGroups, "kind": someKinds} {
		if c.Flags().Lookup(name) != nil {
			_ = c.RegisterFlagCompletionFunc(name, func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return completion(cmd, managers, from, begun)
			})
		}
	}
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func completion(cmd *cobra.Command, managers *cli.Managers, from completer, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	if err := cli.Settle(cmd); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []cobra.Completion
	err := managers.Call(ctx, func(ctx context.Context, m wirepb.ManagerClient) (err error) {
		found, err = from(ctx, m)
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found = slices.DeleteFunc(found, func(c cobra.Completion) bool { return !strings.HasPrefix(c, begun) })
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
