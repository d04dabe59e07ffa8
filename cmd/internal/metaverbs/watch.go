package metaverbs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/metaclient"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

func watch(f *command) *cobra.Command {
	var after uint64
	var history bool
	var every time.Duration
	var limit int
	c := &cobra.Command{
		Use: "watch [KEY [END]]", Short: "Print changes as they are made, until interrupted", Args: cobra.MaximumNArgs(2),
		Long: `Print the changes of a key, a range, those keys that begin with KEY (--prefix), or all,
in the order of their revisions and each once, whatever nodes come and go. Without
--after or --history it begins with what is not changed yet. With -o json each
revision is one document on one line, and one without changes says how far the watch
is.`,
		Example: "  pinetree meta watch --volume pg --prefix catalogue/\n  pinetree meta watch --volume pg owner --after 17 -o json",
	}
	f.reads(c)
	f.prefixFlag(c)
	c.Flags().Uint64Var(&after, "after", 0, "begin after this revision")
	c.Flags().BoolVar(&history, "history", false, "begin with the oldest change that is kept")
	c.Flags().DurationVar(&every, "progress", 0, "how often to say with -o json how far the watch is when nothing changes")
	c.Flags().IntVar(&limit, "limit", 0, "end after so many changes, with the revision of the last one; none when zero")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		span, err := f.span(args)
		if err != nil {
			return err
		}
		if after != 0 && history {
			return cli.Usagef("--after and --history exclude each other")
		}
		spec := metaclient.WatchSpec{Span: span, After: pinetree.MetaRevision(after), FromNow: after == 0 && !history, Progress: every}
		return f.use(cmd, func(ctx context.Context, client *metaclient.Client) error {
			w := &watchOutput{out: cmd.OutOrStdout(), json: f.output.JSON(), limit: limit}
			err := client.Watch(ctx, spec, w.step)
			if err == errEnough || ctx.Err() == context.Canceled {
				return nil
			}
			return err
		})
	}
	return c
}

// errEnough ends a watch that has printed all that was wanted.
var errEnough = errors.New("enough")

// watchOutput prints what a watch tells.
type watchOutput struct {
	out   io.Writer
	json  bool
	limit int
	told  int
}

// changeJSON is one change. Scripts depend on it.
type changeJSON struct {
	Deleted bool `json:"deleted"`
	itemJSON
}

func (w *watchOutput) step(s metaclient.Step) error {
	for at := s.Changes; len(at) > 0 && !w.json; at = at[1:] {
		if c := at[0]; c.Deleted {
			fmt.Fprintf(w.out, "%d  delete  %s\n", c.Modified, cli.Shown(c.Key))
		} else {
			fmt.Fprintf(w.out, "%d  put     %s  %s\n", c.Modified, cli.Shown(c.Key), cli.Shown(c.Value))
		}
	}
	if w.json {
		if err := w.document(s); err != nil {
			return err
		}
	}
	if w.told += len(s.Changes); w.limit > 0 && w.told >= w.limit {
		return errEnough
	}
	return nil
}

func (w *watchOutput) document(s metaclient.Step) error {
	changes := make([]changeJSON, len(s.Changes))
	for n, c := range s.Changes {
		changes[n] = changeJSON{c.Deleted, itemJSONOf(c.Item)}
		if c.Deleted {
			changes[n].Value = nil
		}
	}
	return json.NewEncoder(w.out).Encode(struct {
		Revision pinetree.MetaRevision `json:"revision"`
		Changes  []changeJSON          `json:"changes"`
	}{s.Revision, changes})
}
