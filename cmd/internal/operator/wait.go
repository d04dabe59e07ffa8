package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// pollPace is how often an operation that goes on is looked at.
const pollPace = 300 * time.Millisecond

// operation is something that the managers carry out whether anybody waits or
// not, and how far it is.
type operation struct {
	name string // such as "the drain of node 2"
	see  string // how to see later how far it is
	// look tells whether it is over, and if not, what it waits for.
	look func(ctx context.Context, m wirepb.ManagerClient) (done bool, waits string, err error)
}

// waiting is for how long a command waits for an operation.
type waiting struct {
	none bool
	most time.Duration
}

func (w *waiting) flag(c *cobra.Command) {
	c.Flags().BoolVar(&w.none, "no-wait", false, "return as soon as the order is recorded")
	c.Flags().DurationVar(&w.most, "timeout", 30*time.Minute, "for how long to wait for the end")
}

// until waits for the end of an operation and tells what it waits for. Managers
// that are away are waited for, too. An interrupted or late wait is an error, and
// the operation goes on.
func (o operation) until(cmd *cobra.Command, managers *cli.Managers, most time.Duration) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), most)
	defer cancel()
	teller := cli.NewTeller(cmd)
	defer teller.Done()
	var waits string
	for {
		var done bool
		err := managers.Call(ctx, func(ctx context.Context, m wirepb.ManagerClient) (err error) {
			done, waits, err = o.look(ctx, m)
			return err
		})
		switch {
		case cmd.Context().Err() != nil:
			return fmt.Errorf("interrupted; %s goes on, and `%s` tells how far it is", o.name, o.see)
		case ctx.Err() != nil:
			return fmt.Errorf("%s is not over after %v and goes on (%s); `%s` tells how far it is", o.name, most, waits, o.see)
		case ends(err):
			return err
		case err != nil: // a manager that is away comes back, or another does
			waits = err.Error()
		case done:
			return nil
		}
		teller.Tell(o.name + ": " + waits)
		select {
		case <-ctx.Done():
		case <-time.After(pollPace):
		}
	}
}

// givenUp is an operation that will never be over.
type givenUp struct{ error }

// ends tells whether an error means that there is nothing to wait for any more.
func ends(err error) bool {
	_, over := errors.AsType[givenUp](err)
	return over || errors.Is(err, pinetree.ErrNotFound) || errors.Is(err, pinetree.ErrUnknownGroup)
}
