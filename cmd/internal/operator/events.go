package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// followPace and mostFollowPace bound how often managers are asked again for
// events when the one that told of them is gone.
const followPace, mostFollowPace = 100 * time.Millisecond, 2 * time.Second

func eventsCommand() *cobra.Command {
	var managers cli.Managers
	var output cli.Output
	var follow bool
	q := &wirepb.ListEventsRequest{Newest: true}
	c := &cobra.Command{
		Use: "events", Short: "Show what the cluster manager decided, and why",
		Long: `Show what the cluster manager decided and saw, oldest first: appointments, moves,
changes of replicas, deaths of nodes, each with its cause.

Events outlive managers; a bounded number is kept, and of each kind some. With
--follow the command goes on as they are made, over changes of managers, and says
so when some were dropped before it came to them.`,
		Example: "  clustermgr events --limit 20\n  clustermgr events --follow --group 7\n  clustermgr events --kind node_dead -o json",
	}
	c.Flags().BoolVar(&follow, "follow", false, "go on as decisions are made, until interrupted")
	c.Flags().Uint32Var(&q.Limit, "limit", 100, "how many of the newest ones; 0 is all that are kept")
	c.Flags().Uint64Var(&q.After, "after", 0, "only those after the event of this id")
	c.Flags().Uint64Var(&q.Group, "group", 0, "only those of this group")
	c.Flags().Uint64Var(&q.Node, "node", 0, "only those of this node")
	c.Flags().StringVar(&q.Kind, "kind", "", "only those of this kind, such as appointed, moved or node_dead")
	managers.ClientFlag(c)
	output.Flag(c)
	completeFlags(c, &managers)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.Check(); err != nil {
			return err
		}
		if follow {
			return followEvents(cmd, &managers, q, printer(cmd.OutOrStdout(), output.JSON()))
		}
		l, err := asked(cmd, &managers, func(ctx context.Context, m wirepb.ManagerClient, _ []string) (cli.Listing, error) {
			r, err := m.ListEvents(ctx, q)
			return eventsListing(r.GetEvents()), err
		}, args)
		if err != nil {
			return err
		}
		return output.Print(cmd.OutOrStdout(), l)
	}
	return c
}

func eventsListing(events []*wirepb.Event) cli.Listing {
	list := make([]eventJSON, 0, len(events))
	l := cli.Listing{Empty: "There is no such event.", Columns: []string{"id", "time", "what", "group", "node", "appointment", "cause", "inputs", "outcome"}}
	for _, e := range events {
		list = append(list, eventOf(e))
		l.Rows = append(l.Rows, []any{e.Id, timeOf(e), e.Kind, orDash(e.Group), orDash(e.Node), orDash(e.Appointment), e.Cause, e.Inputs, e.Outcome})
	}
	l.JSON = list
	return l
}

func timeOf(e *wirepb.Event) string {
	if e.UnixMs == 0 {
		return ""
	}
	at := time.UnixMilli(e.UnixMs)
	if time.Since(at) > 12*time.Hour {
		return at.Format("2006-01-02 15:04:05.000")
	}
	return at.Format("15:04:05.000")
}

// printer prints events as they come: one line each.
func printer(out io.Writer, asJSON bool) func(*wirepb.Event) error {
	return func(e *wirepb.Event) error {
		if asJSON {
			return cli.PrintLine(out, eventOf(e))
		}
		_, err := fmt.Fprintf(out, "%6d  %12s  %-18s %s\n", e.Id, timeOf(e), e.Kind, eventInWords(e))
		return err
	}
}

func eventInWords(e *wirepb.Event) string {
	var parts []string
	for _, about := range []struct {
		what string
		id   uint64
	}{{"group", e.Group}, {"node", e.Node}, {"appointment", e.Appointment}} {
		if about.id != 0 {
			parts = append(parts, fmt.Sprintf("%s %d", about.what, about.id))
		}
	}
	var said []string
	for _, words := range []string{e.Cause, e.Inputs, e.Outcome} {
		if words != "" {
			said = append(said, words)
		}
	}
	text := strings.Join(said, "; ")
	if len(parts) > 0 {
		return strings.TrimSuffix(strings.Join(parts, ", ")+": "+text, ": ")
	}
	return text
}

// followEvents prints events until it is interrupted. The first manager must
// answer; when it is gone later, the next one that answers is asked for what came
// after the last event that was printed.
func followEvents(cmd *cobra.Command, managers *cli.Managers, q *wirepb.ListEventsRequest, show func(*wirepb.Event) error) error {
	_, err := asked(cmd, managers, func(ctx context.Context, m wirepb.ManagerClient, _ []string) (*wirepb.ListEventsResponse, error) {
		return m.ListEvents(ctx, &wirepb.ListEventsRequest{Limit: 1})
	}, nil)
	if err != nil {
		return err
	}
	for pace := followPace; ; pace = min(2*pace, mostFollowPace) {
		var printing error
		err := managers.Follow(cmd.Context(), func(ctx context.Context, m wirepb.ManagerClient) error {
			stream, err := m.WatchEvents(ctx, q)
			if err != nil {
				return err
			}
			for {
				e, err := stream.Recv()
				if err != nil {
					return err
				}
				if printing = show(e); printing != nil {
					return printing
				}
				q.After, pace = e.Id, followPace
			}
		})
		switch {
		case cmd.Context().Err() != nil:
			return nil
		case cmp.Or(printing, final(err)) != nil:
			return cmp.Or(printing, final(err))
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "going on after event %d: %v\n", q.After, err)
		select {
		case <-cmd.Context().Done():
			return nil
		case <-time.After(pace):
		}
	}
}

// final returns an error that no other manager would answer otherwise.
func final(err error) error {
	_, usage := errors.AsType[cli.UsageError](err)
	switch status.Code(err) {
	case codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument:
		return err
	}
	if usage || errors.Is(err, pinetree.ErrQueueFull) {
		return err
	}
	return nil
}
