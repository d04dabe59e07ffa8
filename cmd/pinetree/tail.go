package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/pgwal"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

func tailCommand() *cobra.Command {
	var f readFlags
	var output cli.Output
	var from string
	var t tailOutput
	c := &cobra.Command{
		Use: "tail", Short: "Read a volume's log back", Args: cobra.NoArgs,
		Long: `Read a volume's log back, from any replica, record by record or as raw bytes.

With --raw the payloads are written one after the other, so that the log of a
PostgreSQL volume is its segment files again. Where it starts at the start of a
segment and --follow is not given, the last segment is filled with zeroes up to its
end, as PostgreSQL leaves it; --no-pad leaves that out.`,
	}
	f.flag(c, "consistent")
	output.Flag(c)
	c.Flags().StringVar(&from, "from", "", "begin after the record that ends at this LSN; the beginning of the log when empty")
	c.Flags().BoolVar(&t.follow, "follow", false, "go on as records are appended, until interrupted")
	c.Flags().BoolVar(&t.committed, "committed", false, "with --follow: what is committed, before the replica has replayed it")
	c.Flags().BoolVar(&t.raw, "raw", false, "write the payloads' bytes and nothing else")
	c.Flags().BoolVar(&t.noPad, "no-pad", false, "with --raw: do not fill the last PostgreSQL segment with zeroes")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		start, err := lsnFlag("from", from)
		if err != nil {
			return err
		}
		if err := output.Check(); err != nil {
			return err
		}
		if t.committed && !t.follow {
			return cli.Usagef("--committed is for --follow: without it the log is read up to what is replayed")
		}
		client, reader, err := f.reader(cmd, "")
		if err != nil {
			return err
		}
		defer client.Close()
		t.json, t.opaque = output.JSON(), client.Route().Format == pinetree.FormatOpaque
		t.out = bufio.NewWriterSize(cmd.OutOrStdout(), 1<<20)
		return t.run(cmd.Context(), reader, start)
	}
	return c
}

// tailOutput writes what a tail reads.
type tailOutput struct {
	follow, committed, raw, noPad, json bool
	opaque                              bool
	out                                 *bufio.Writer

	head []byte // how the log begins, as far as padding needs it
}

// headBytes is how much of a segment tells its size.
const headBytes = 64

func (t *tailOutput) run(ctx context.Context, reader *ship.Reader, from pinetree.LSN) error {
	end, err := reader.Tail(ctx, ship.TailQuery{From: from, Follow: t.follow, Committed: t.committed}, t.record)
	if t.follow && interrupted(ctx) {
		err = nil
	}
	if err == nil && t.raw && t.opaque && !t.follow && !t.noPad {
		err = t.pad(end)
	}
	return joined(err, t.out.Flush())
}

// record writes one record.
func (t *tailOutput) record(r pinetree.Record) error {
	if missing := headBytes - len(t.head); missing > 0 {
		t.head = append(t.head, r.Payload[:min(missing, len(r.Payload))]...)
	}
	var err error
	switch {
	case t.raw:
		_, err = t.out.Write(r.Payload)
	case t.json:
		err = json.NewEncoder(t.out).Encode(struct {
			Prev    pinetree.LSN `json:"prev"`
			LSN     pinetree.LSN `json:"lsn"`
			Payload []byte       `json:"payload"` // base64
		}{r.Prev, r.LSN, r.Payload})
	default:
		_, err = fmt.Fprintf(t.out, "%s  after %s  %d bytes\n", r.LSN, r.Prev, len(r.Payload))
	}
	if err == nil && t.follow {
		err = t.out.Flush() // somebody is waiting for it
	}
	return err
}

// pad fills the last segment of a PostgreSQL log. Any other log is left alone.
func (t *tailOutput) pad(end pinetree.LSN) error {
	n, err := pgwal.Padding(t.head, end)
	if errors.Is(err, pinetree.ErrBadBatch) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.CopyN(t.out, zeroes{}, n)
	return err
}

// zeroes is an endless reader of zero bytes.
type zeroes struct{}

// Read implements io.Reader.
func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
