package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// DefaultManager is where `clustermgr serve` listens when it is not told.
const DefaultManager = "127.0.0.1:7000"

// Managers are the addresses of the cluster's manager processes.
type Managers struct{ Addresses []string }

// Flag adds --manager to a command.
func (m *Managers) Flag(c *cobra.Command) {
	c.Flags().StringSliceVar(&m.Addresses, "manager", []string{DefaultManager}, "addresses of cluster managers, joined by commas")
}

// callTimeout bounds one request to the manager.
const callTimeout = 30 * time.Second

// Call asks the first manager that answers. A manager that cannot be reached,
// or is not the active one, is passed over for the next, or for the one it names.
func (m *Managers) Call(ctx context.Context, fn func(context.Context, wirepb.ManagerClient) error) error {
	if len(m.Addresses) == 0 {
		return Usagef("--manager names no address")
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var failed []error
	asked := map[string]bool{}
	for list := slices.Clone(m.Addresses); len(list) > 0; list = list[1:] {
		if asked[list[0]] {
			continue
		}
		asked[list[0]] = true
		err := call(ctx, list[0], fn)
		if other, ok := errors.AsType[*pinetree.NotLeaderError](err); ok {
			if other.Addr != "" {
				list = append(list, other.Addr)
			}
		} else if _, ok := errors.AsType[unreachable](err); !ok {
			return err
		}
		failed = append(failed, err)
	}
	return fmt.Errorf("no cluster manager answers (%w); is `clustermgr serve` running, and is --manager right?", errors.Join(failed...))
}

// unreachable is a manager that did not answer at all.
type unreachable struct{ err error }

func (u unreachable) Error() string { return u.err.Error() }

func call(ctx context.Context, address string, fn func(context.Context, wirepb.ManagerClient) error) error {
	conn, err := grpc.NewClient("passthrough:///"+strings.TrimSpace(address), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithChainUnaryInterceptor(wirepb.UnaryClientErrors), grpc.WithChainStreamInterceptor(wirepb.StreamClientErrors))
	if err != nil {
		return UsageError{err}
	}
	defer conn.Close()
	connecting, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure || !conn.WaitForStateChange(connecting, state) {
			return unreachable{fmt.Errorf("%s does not answer", address)}
		}
	}
	return fn(ctx, wirepb.NewManagerClient(conn))
}
