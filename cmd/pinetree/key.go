package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

func keyCommand() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "Read and write keys of a redo volume"}
	c.AddCommand(keyGet(), keyList(), keyPut())
	return c
}

// bytesJSON is a byte string in JSON.
type bytesJSON = cli.Bytes

func bytesOf(b []byte) bytesJSON { return cli.BytesOf(b) }

func shown(b []byte) string { return cli.Shown(b) }

// keyJSON is one key with its value. Scripts depend on it.
type keyJSON struct {
	Key   bytesJSON    `json:"key"`
	Value bytesJSON    `json:"value"`
	LSN   pinetree.LSN `json:"lsn"` // last change
}

// servedJSON says how a read was answered.
type servedJSON struct {
	At    pinetree.LSN    `json:"at"`
	Level string          `json:"level"`
	Node  pinetree.NodeID `json:"node"`
	// StaleMS: nothing is missing that was acknowledged longer than this before.
	StaleMS *int64 `json:"stale_ms,omitempty"`
}

func servedOf(s ship.Served) servedJSON {
	served := servedJSON{At: s.LSN, Level: s.Level.String(), Node: s.Node}
	if s.Stale >= 0 {
		served.StaleMS = new(s.Stale.Milliseconds())
	}
	return served
}

func keyGet() *cobra.Command {
	var f readFlags
	var output cli.Output
	var at string
	c := &cobra.Command{Use: "get KEY", Short: "Print the value of a key", Args: cobra.ExactArgs(1)}
	f.flag(c, "default")
	output.Flag(c)
	c.Flags().StringVar(&at, "at", "", "read the state as of this LSN")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		client, reader, err := f.reader(cmd, at)
		if err != nil {
			return err
		}
		defer client.Close()
		read, err := reader.Key(cmd.Context(), []byte(args[0]))
		if err != nil {
			return err
		}
		return output.Print(cmd.OutOrStdout(), cli.Listing{
			JSON: struct {
				keyJSON
				servedJSON
			}{keyJSON{bytesOf([]byte(args[0])), bytesOf(read.Value), read.KeyLSN}, servedOf(read.Served)},
			Columns: []string{"key", "value", "changed at", "read at", "answered", "node"},
			Rows:    [][]any{{args[0], shown(read.Value), read.KeyLSN, read.LSN, read.Level, read.Node}},
		})
	}
	return c
}

func keyList() *cobra.Command {
	var f readFlags
	var output cli.Output
	var at, start, end string
	var limit int
	c := &cobra.Command{Use: "ls", Short: "List keys and values in byte order", Args: cobra.NoArgs}
	f.flag(c, "default")
	output.Flag(c)
	c.Flags().StringVar(&at, "at", "", "read the state as of this LSN")
	c.Flags().StringVar(&start, "start", "", "first key")
	c.Flags().StringVar(&end, "end", "", "key to stop before")
	c.Flags().IntVar(&limit, "limit", 1000, "how many keys at most")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 1 {
			return cli.Usagef("--limit %d: want at least 1", limit)
		}
		client, reader, err := f.reader(cmd, at)
		if err != nil {
			return err
		}
		defer client.Close()
		read, err := reader.Range(cmd.Context(), ship.RangeQuery{Start: []byte(start), End: []byte(end), Limit: limit})
		if err != nil {
			return err
		}
		list := make([]keyJSON, 0, len(read.Items))
		l := cli.Listing{Empty: "No such keys.", Columns: []string{"key", "value", "changed at"}}
		for _, item := range read.Items {
			list = append(list, keyJSON{bytesOf(item.Key), bytesOf(item.Value), item.LSN})
			l.Rows = append(l.Rows, []any{shown(item.Key), shown(item.Value), item.LSN})
		}
		if read.More {
			l.Rows = append(l.Rows, []any{"…", "there are more; go on with --start", ""})
		}
		l.JSON = struct {
			Items []keyJSON `json:"items"`
			More  bool      `json:"more"`
			servedJSON
		}{list, read.More, servedOf(read.Served)}
		return output.Print(cmd.OutOrStdout(), l)
	}
	return c
}

func keyPut() *cobra.Command {
	var f volumeFlags
	var remove bool
	c := &cobra.Command{
		Use: "put KEY [VALUE]", Short: "Set or delete a key; this fences the volume's writer", Args: cobra.RangeArgs(1, 2),
		Long: `Set a key of a redo volume, or delete it with --delete.

A volume has one writer. This command becomes it: it opens a new compute term, which
fences the writer before it for good. Use it on volumes that no database writes to.`,
	}
	f.flag(c)
	c.Flags().BoolVar(&remove, "delete", false, "delete the key")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		op := &storepb.RedoOp{}
		switch {
		case remove && len(args) == 1:
			op.Op = &storepb.RedoOp_KeyDelete{KeyDelete: &storepb.KeyDelete{Key: []byte(args[0])}}
		case !remove && len(args) == 2:
			op.Op = &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte(args[0]), Value: []byte(args[1])}}
		default:
			return cli.Usagef("want KEY VALUE, or KEY --delete")
		}
		payload, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{op}})
		if err != nil {
			return err
		}
		client, err := f.dial(cmd)
		if err != nil {
			return err
		}
		defer client.Close()
		if format := client.Route().Format; format != pinetree.FormatRedo {
			return fmt.Errorf("volume %s has the format %s, which has no keys; make one with `clustermgr volume create NAME --format redo`", f.volume, format)
		}
		w, err := client.OpenWriter(cmd.Context(), ship.WriterConfig{})
		if err != nil {
			return err
		}
		at := w.Durable()
		r := pinetree.Record{Prev: at, LSN: at + pinetree.LSN(len(payload)), Payload: payload}
		if err := w.Append(cmd.Context(), r); err != nil {
			return err
		}
		if err := w.Flush(cmd.Context()); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "durable at %s, compute term %d\n", r.LSN, w.Term())
		return w.Close()
	}
	return c
}
