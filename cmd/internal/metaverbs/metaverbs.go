// Package metaverbs is the verbs of `pinetree meta`: they read, change and watch the
// metadata of a volume, and print it as tables or JSON. It only parses and prints.
package metaverbs

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/metaclient"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/meta"
)

// Flags find a volume and say how it is read.
type Flags interface {
	// Reads adds them to a command that reads, Writes to one that changes things.
	Reads(*cobra.Command)
	Writes(*cobra.Command)
	// Dial finds the volume; the caller closes the client.
	Dial(*cobra.Command) (*ship.Client, ship.ReadConfig, error)
}

// Command is the verbs; fresh makes the flags of each.
func Command(fresh func() Flags) *cobra.Command {
	c := &cobra.Command{
		Use: "meta", Short: "Read, change and watch the metadata of a volume",
		Long: `The metadata of a volume is a small transactional key space beside its log. Every
transaction that writes makes a revision; states and changes since the last compaction
can be read. Whoever changes it needs no compute term and fences nobody.`,
	}
	for _, verb := range []func(*command) *cobra.Command{get, list, put, remove, txn, watch, compact} {
		c.AddCommand(verb(&command{flags: fresh()}))
	}
	return c
}

// command is what the verbs share.
type command struct {
	flags  Flags
	output cli.Output
	prefix bool
}

// use calls fn with the client that the flags describe.
func (f *command) use(cmd *cobra.Command, fn func(context.Context, *metaclient.Client) error) error {
	if err := f.output.Check(); err != nil {
		return err
	}
	client, cfg, err := f.flags.Dial(cmd)
	if err != nil {
		return err
	}
	defer client.Close()
	return fn(cmd.Context(), metaclient.New(client, cfg))
}

func (f *command) reads(c *cobra.Command) {
	f.flags.Reads(c)
	f.output.Flag(c)
}

func (f *command) writes(c *cobra.Command) {
	f.flags.Writes(c)
	f.output.Flag(c)
}

func (f *command) prefixFlag(c *cobra.Command) {
	c.Flags().BoolVar(&f.prefix, "prefix", false, "KEY is how the keys begin")
}

// span is what the arguments [KEY [END]] and --prefix mean; everything without.
func (f *command) span(args []string) (meta.Span, error) {
	switch {
	case f.prefix && len(args) > 1:
		return meta.Span{}, cli.Usagef("--prefix takes one KEY")
	case len(args) == 0:
		return metaclient.Prefix(nil), nil
	case f.prefix:
		return metaclient.Prefix([]byte(args[0])), nil
	case len(args) == 1:
		return meta.Span{Key: []byte(args[0])}, nil
	case args[0] >= args[1]:
		return meta.Span{}, cli.Usagef("there is no key from %q up to and without %q", args[0], args[1])
	}
	return meta.Span{Key: []byte(args[0]), End: []byte(args[1])}, nil
}

// itemJSON is one key. Scripts depend on it.
type itemJSON struct {
	Key      cli.Bytes             `json:"key"`
	Value    *cli.Bytes            `json:"value,omitempty"`
	Created  pinetree.MetaRevision `json:"created,omitempty"`
	Modified pinetree.MetaRevision `json:"modified"`
	Version  uint64                `json:"version,omitempty"`
}

func itemJSONOf(i meta.Item) itemJSON {
	return itemJSON{Key: cli.BytesOf(i.Key), Value: new(cli.BytesOf(i.Value)), Created: i.Created, Modified: i.Modified, Version: i.Version}
}

// servedJSON says which state was read, and how.
type servedJSON struct {
	Revision  pinetree.MetaRevision `json:"revision"`
	Compacted pinetree.MetaRevision `json:"compacted"`
	Level     string                `json:"level"`
	Node      pinetree.NodeID       `json:"node"`
	StaleMS   *int64                `json:"stale_ms,omitempty"`
}

func served(read metaclient.RangeRead) servedJSON {
	s := servedJSON{Revision: read.Revision, Compacted: read.Compacted, Level: read.Level.String(), Node: read.Node}
	if read.Stale >= 0 {
		s.StaleMS = new(read.Stale.Milliseconds())
	}
	return s
}

var itemColumns = []string{"key", "value", "created", "modified", "version"}

func itemRow(i meta.Item) []any {
	return []any{cli.Shown(i.Key), cli.Shown(i.Value), i.Created, i.Modified, i.Version}
}

func get(f *command) *cobra.Command {
	var at uint64
	var raw bool
	c := &cobra.Command{
		Use: "get KEY", Short: "Print the value of a key", Args: cobra.ExactArgs(1),
		Example: "  pinetree meta get --volume pg catalogue/7\n  pinetree meta get --volume pg catalogue/7 --revision 12 --read consistent",
	}
	f.reads(c)
	c.Flags().Uint64Var(&at, "revision", 0, "read the state as of this revision")
	c.Flags().BoolVar(&raw, "raw", false, "write the value's bytes and nothing else")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return f.use(cmd, func(ctx context.Context, client *metaclient.Client) error {
			read, err := client.Get(ctx, []byte(args[0]), pinetree.MetaRevision(at))
			if err != nil {
				return err
			}
			if raw {
				_, err := cmd.OutOrStdout().Write(read.Item.Value)
				return err
			}
			return f.output.Print(cmd.OutOrStdout(), cli.Listing{
				JSON: struct {
					itemJSON
					Revision pinetree.MetaRevision `json:"revision"`
					Level    string                `json:"level"`
					Node     pinetree.NodeID       `json:"node"`
				}{itemJSONOf(read.Item), read.Revision, read.Level.String(), read.Node},
				Columns: append(itemColumns[:len(itemColumns):len(itemColumns)], "read at", "answered", "node"),
				Rows:    [][]any{append(itemRow(read.Item), read.Revision, read.Level, read.Node)},
			})
		})
	}
	return c
}

func list(f *command) *cobra.Command {
	var at uint64
	var limit int
	var keysOnly bool
	c := &cobra.Command{
		Use: "range [KEY [END]]", Short: "List keys and values in byte order, of one state", Args: cobra.MaximumNArgs(2),
		Long: `List the keys from KEY up to and without END, those that begin with KEY (--prefix), the
one KEY, or all. All are of one state, however many they are.`,
		Example: "  pinetree meta range --volume pg --prefix catalogue/\n  pinetree meta range --volume pg a n --limit 10 -o json",
	}
	f.reads(c)
	f.prefixFlag(c)
	c.Flags().Uint64Var(&at, "revision", 0, "read the state as of this revision")
	c.Flags().IntVar(&limit, "limit", 0, "how many keys at most; all when zero")
	c.Flags().BoolVar(&keysOnly, "keys-only", false, "leave out the values")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		span, err := f.span(args)
		if err != nil {
			return err
		}
		if limit < 0 {
			return cli.Usagef("--limit %d: want a number of keys, or 0 for all", limit)
		}
		return f.use(cmd, func(ctx context.Context, client *metaclient.Client) error {
			read, err := client.Range(ctx, meta.RangeSpec{Span: span, Revision: pinetree.MetaRevision(at), Limit: limit, KeysOnly: keysOnly})
			if err != nil {
				return err
			}
			return f.output.Print(cmd.OutOrStdout(), rangeListing(read, keysOnly))
		})
	}
	return c
}

func rangeListing(read metaclient.RangeRead, keysOnly bool) cli.Listing {
	list := make([]itemJSON, 0, len(read.Items))
	l := cli.Listing{
		Empty: "No such keys.", Columns: itemColumns,
		Below: []string{fmt.Sprintf("revision %d, read from node %d (%s)", read.Revision, read.Node, read.Level)},
	}
	for _, item := range read.Items {
		j := itemJSONOf(item)
		if keysOnly {
			j.Value = nil
		}
		list = append(list, j)
		l.Rows = append(l.Rows, itemRow(item))
	}
	if read.More {
		l.Below = append(l.Below, "there are more keys; raise --limit, or begin after the last one")
	}
	l.JSON = struct {
		Items []itemJSON `json:"items"`
		More  bool       `json:"more"`
		servedJSON
	}{list, read.More, served(read)}
	return l
}

func put(f *command) *cobra.Command {
	var absent bool
	var modified uint64
	c := &cobra.Command{
		Use: "put KEY VALUE", Short: "Set a key; a VALUE of - is read from standard input", Args: cobra.ExactArgs(2),
		Example: "  pinetree meta put --volume pg config/shared_buffers 4GB\n  pinetree meta put --volume pg owner node-a --if-absent",
	}
	f.writes(c)
	c.Flags().BoolVar(&absent, "if-absent", false, "only when the key is not there")
	c.Flags().Uint64Var(&modified, "if-modified", 0, "only when this revision was the key's last change")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if absent && modified != 0 {
			return cli.Usagef("--if-absent and --if-modified exclude each other")
		}
		value := []byte(args[1])
		if args[1] == "-" {
			var err error
			if value, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), meta.MaxValueBytes+1)); err != nil {
				return err
			}
		}
		txn := meta.Txn{Then: []meta.Op{{Kind: meta.OpPut, Span: meta.Span{Key: []byte(args[0])}, Value: value}}}
		if absent || modified != 0 {
			txn.Compares = []meta.Compare{{Key: []byte(args[0]), Target: meta.TargetModified, Number: modified}}
		}
		return f.use(cmd, func(ctx context.Context, client *metaclient.Client) error {
			r, err := client.Txn(ctx, txn)
			if err != nil {
				return err
			}
			if !r.Succeeded {
				return fmt.Errorf("nothing was changed: key %q is not as --if-absent or --if-modified wants it, at revision %d", args[0], r.Revision)
			}
			return f.output.Print(cmd.OutOrStdout(), revisionListing(r.Revision))
		})
	}
	return c
}

func revisionListing(at pinetree.MetaRevision) cli.Listing {
	return cli.Listing{
		JSON: struct {
			Revision pinetree.MetaRevision `json:"revision"`
		}{at},
		Columns: []string{"revision"}, Rows: [][]any{{at}},
	}
}

func remove(f *command) *cobra.Command {
	c := &cobra.Command{
		Use: "delete KEY [END]", Short: "Delete a key, or keys by range or prefix, in one transaction", Args: cobra.RangeArgs(1, 2),
		Example: "  pinetree meta delete --volume pg owner\n  pinetree meta delete --volume pg --prefix catalogue/",
	}
	f.writes(c)
	f.prefixFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		span, err := f.span(args)
		if err != nil {
			return err
		}
		return f.use(cmd, func(ctx context.Context, client *metaclient.Client) error {
			deleted, at, err := client.Delete(ctx, span)
			if err != nil {
				return err
			}
			return f.output.Print(cmd.OutOrStdout(), cli.Listing{
				JSON: struct {
					Deleted  int                   `json:"deleted"`
					Revision pinetree.MetaRevision `json:"revision"`
				}{deleted, at},
				Columns: []string{"deleted", "revision"}, Rows: [][]any{{deleted, at}},
			})
		})
	}
	return c
}

func compact(f *command) *cobra.Command {
	c := &cobra.Command{
		Use: "compact REVISION", Short: "Give up the history below a revision", Args: cobra.ExactArgs(1),
		Long: `Give up the history below a revision, which can still be read afterwards. Watches that
are behind it end, and say so.`,
		Example: "  pinetree meta compact --volume pg 4000",
	}
	f.writes(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		to, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return cli.Usagef("REVISION %q is no number", args[0])
		}
		return f.use(cmd, func(ctx context.Context, client *metaclient.Client) error {
			at, err := client.Compact(ctx, pinetree.MetaRevision(to))
			if err != nil {
				return err
			}
			return f.output.Print(cmd.OutOrStdout(), cli.Listing{
				JSON: struct {
					Compacted pinetree.MetaRevision `json:"compacted"`
				}{at},
				Columns: []string{"oldest revision"}, Rows: [][]any{{at}},
			})
		})
	}
	return c
}
