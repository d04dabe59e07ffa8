package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// DefaultManager is where `clustermgr serve` listens when it is not told.
const DefaultManager = "127.0.0.1:7000"

// Managers are the addresses of the cluster's manager processes, and how
// connections to them and to the nodes are protected.
type Managers struct {
	Addresses []string
	TLS       TLS
}

// Flag adds --manager and the TLS flags to a command.
func (m *Managers) Flag(c *cobra.Command) {
	c.Flags().StringSliceVar(&m.Addresses, "manager", []string{DefaultManager}, "addresses of cluster managers, joined by commas")
	m.TLS.Flag(c)
}

// ClientFlag adds --context, too: for commands that operators and clients run.
func (m *Managers) ClientFlag(c *cobra.Command) {
	m.Flag(c)
	c.Flags().String("context", "", "cluster that is asked, by its name in the file of contexts; see `clustermgr context`")
	_ = c.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		contexts, err := LoadContexts()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return contexts.Names(), cobra.ShellCompDirectiveNoFileComp
	})
}

// callTimeout bounds one request to the manager.
const callTimeout = 30 * time.Second

// Call asks the first manager that answers. A manager that cannot be reached,
// or is not the active one, is passed over for the next, or for the one it names.
func (m *Managers) Call(ctx context.Context, fn func(context.Context, wirepb.ManagerClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return m.Follow(ctx, fn)
}

// Follow is Call for streams, whose end is the caller's to bound.
func (m *Managers) Follow(ctx context.Context, fn func(context.Context, wirepb.ManagerClient) error) error {
	if len(m.Addresses) == 0 {
		return Usagef("--manager names no address")
	}
	dial, err := m.TLS.Dial(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	var failed []error
	asked := map[string]bool{}
	for list := slices.Clone(m.Addresses); len(list) > 0; list = list[1:] {
		if asked[list[0]] {
			continue
		}
		asked[list[0]] = true
		err := call(ctx, list[0], dial, fn)
		if other, ok := errors.AsType[*pinetree.NotLeaderError](err); ok {
			if other.Addr != "" {
				list = append(list, other.Addr)
			}
		} else if _, ok := errors.AsType[unreachable](err); !ok {
			return err
		}
		failed = append(failed, err)
	}
	return fmt.Errorf("no cluster manager answers (%w); is `clustermgr serve` running, and is --manager (or PINETREE_MANAGER, or the context) right?", errors.Join(failed...))
}

// unreachable is a manager that did not answer at all.
type unreachable struct{ err error }

func (u unreachable) Error() string { return u.err.Error() }

func call(ctx context.Context, address string, dial []grpc.DialOption, fn func(context.Context, wirepb.ManagerClient) error) error {
	conn, err := grpc.NewClient("passthrough:///"+strings.TrimSpace(address), append(dial[:len(dial):len(dial)],
		grpc.WithNoProxy(),
		grpc.WithChainUnaryInterceptor(wirepb.UnaryClientErrors), grpc.WithChainStreamInterceptor(wirepb.StreamClientErrors))...)
	if err != nil {
		return UsageError{err}
	}
	defer conn.Close()
	connecting, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure || !conn.WaitForStateChange(connecting, state) {
			return unreachable{fmt.Errorf("%s does not answer%s", address, reason(connecting, conn))}
		}
	}
	return fn(ctx, wirepb.NewManagerClient(conn))
}

// reason says why there is no connection, with a colon before it. Only the error
// of a call tells; this one changes nothing if it should come through.
func reason(ctx context.Context, conn *grpc.ClientConn) string {
	_, err := wirepb.NewManagerClient(conn).ListEvents(ctx, &wirepb.ListEventsRequest{Limit: 1})
	quoted, found := strings.CutPrefix(status.Convert(err).Message(), "connection error: desc = ")
	words, bad := strconv.Unquote(quoted)
	if !found || bad != nil {
		return ""
	}
	return ": " + strings.TrimPrefix(words, "transport: ")
}
