// Package operator is the verbs with which an operator looks at a cluster and
// orders it about: nodes, groups, volumes, leaders, leases, routes, events. They
// ask a cluster manager and know nothing else.
package operator

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Commands are all the verbs.
func Commands() []*cobra.Command {
	return []*cobra.Command{
		nodeCommand(), groupCommand(), volumeCommand(), leaderCommand(), leaseCommand(), routeCommand(), eventsCommand(), safeToStopCommand(), contextCommand(),
	}
}

// A listing is a verb that asks the manager and prints the answer.
type listing struct {
	use, short, long string
	example          string
	args             cobra.PositionalArgs
	complete         []completer // of each argument
	flags            func(*cobra.Command)
	watch            bool // it can be made again and again
	// loss tells what the verb destroys, for which it asks first.
	loss func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Loss, error)
	ask  func(ctx context.Context, m wirepb.ManagerClient, args []string) (cli.Listing, error)
	// more adds to the answer what a manager does not know.
	more func(ctx context.Context, managers *cli.Managers, args []string, l *cli.Listing)
}

func (l listing) command() *cobra.Command {
	var managers cli.Managers
	var output cli.Output
	var watching cli.Watching
	var confirmation cli.Confirmation
	c := &cobra.Command{Use: l.use, Short: l.short, Long: l.long, Example: l.example, Args: l.args, ValidArgsFunction: completeArgs(&managers, l.complete)}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		if l.loss != nil {
			if err := confirm(cmd, &managers, &confirmation, l.loss, args); err != nil {
				return err
			}
		}
		return watching.Print(cmd, &output, func() (cli.Listing, error) {
			answer, err := asked(cmd, &managers, l.ask, args)
			if err == nil && l.more != nil {
				l.more(cmd.Context(), &managers, args, &answer)
			}
			return answer, err
		})
	}
	if l.flags != nil {
		l.flags(c)
	}
	managers.ClientFlag(c)
	output.Flag(c)
	if l.watch {
		watching.Flag(c)
	}
	if l.loss != nil {
		confirmation.Flag(c)
	}
	completeFlags(c, &managers)
	return c
}

// asked is what a manager answers.
func asked[A any](cmd *cobra.Command, managers *cli.Managers, ask func(context.Context, wirepb.ManagerClient, []string) (A, error), args []string) (answer A, err error) {
	err = managers.Call(cmd.Context(), func(ctx context.Context, m wirepb.ManagerClient) (err error) {
		answer, err = ask(ctx, m, args)
		return err
	})
	return answer, err
}

// confirm asks the operator, after it has asked the manager what would be lost.
func confirm(cmd *cobra.Command, managers *cli.Managers, c *cli.Confirmation, loss func(context.Context, wirepb.ManagerClient, []string) (cli.Loss, error), args []string) error {
	lost, err := asked(cmd, managers, loss, args)
	if err != nil {
		return err
	}
	return c.Ask(cmd, lost)
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

// are takes numbers of groups or nodes as the arguments.
func are(whats ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		for i, a := range args {
			if _, err := number(whats[min(i, len(whats)-1)], a); err != nil {
				return err
			}
		}
		return nil
	}
}

// one takes one number.
func one(what string) cobra.PositionalArgs { return cobra.MatchAll(cobra.ExactArgs(1), are(what)) }

// id is a number that was checked.
func id(args []string) uint64 {
	n, _ := strconv.ParseUint(args[0], 10, 64)
	return n
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
