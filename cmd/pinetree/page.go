package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

func pageCommand() *cobra.Command {
	c := &cobra.Command{Use: "page", Short: "Read pages of a redo volume"}
	c.AddCommand(pageGet())
	return c
}

func pageGet() *cobra.Command {
	var f readFlags
	var output cli.Output
	var at string
	var raw bool
	c := &cobra.Command{
		Use: "get PAGE...", Short: "Print a page, or several of one state", Args: cobra.MinimumNArgs(1),
		Long: `Print a page with its bytes, or list several pages as they were at one LSN. With
--raw the bytes of all of them follow each other, and one that was never written is
an error.`,
	}
	f.flag(c, "default")
	output.Flag(c)
	c.Flags().StringVar(&at, "at", "", "read the state as of this LSN")
	c.Flags().BoolVar(&raw, "raw", false, "write the pages' bytes and nothing else")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		numbers := make([]pinetree.PageNo, len(args))
		for i, text := range args {
			number, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return cli.Usagef("page %q: want its number", text)
			}
			numbers[i] = pinetree.PageNo(number)
		}
		client, reader, err := f.reader(cmd, at)
		if err != nil {
			return err
		}
		defer client.Close()
		if len(numbers) == 1 {
			read, err := reader.Page(cmd.Context(), numbers[0])
			if err != nil {
				return err
			}
			return printPage(cmd.OutOrStdout(), read, pageOutput{output, numbers, raw})
		}
		read, err := reader.Pages(cmd.Context(), numbers)
		if err != nil {
			return err
		}
		return printPages(cmd.OutOrStdout(), read, pageOutput{output, numbers, raw})
	}
	return c
}

// pageOutput is how pages are printed, and which ones.
type pageOutput struct {
	cli.Output
	numbers []pinetree.PageNo
	raw     bool
}

// pageJSON is one page.
type pageJSON struct {
	Page    pinetree.PageNo `json:"page"`
	Bytes   []byte          `json:"bytes"` // base64
	PageLSN pinetree.LSN    `json:"lsn"`
}

func printPage(w io.Writer, read ship.PageRead, o pageOutput) error {
	if o.raw {
		_, err := w.Write(read.Page)
		return err
	}
	if err := o.Print(w, cli.Listing{
		JSON: struct {
			pageJSON
			servedJSON
		}{pageJSON{o.numbers[0], read.Page, read.PageLSN}, servedOf(read.Served)},
		Columns: []string{"page", "bytes", "changed at", "read at", "answered", "node"},
		Rows:    [][]any{{o.numbers[0], len(read.Page), read.PageLSN, read.LSN, read.Level, read.Node}},
	}); err != nil || o.JSON() {
		return err
	}
	_, err := fmt.Fprint(w, hex.Dump(read.Page))
	return err
}

// printPages prints several pages. One that was never written is null in JSON.
func printPages(w io.Writer, read ship.PagesRead, o pageOutput) error {
	if o.raw {
		for i, page := range read.Pages {
			if !page.Found {
				return fmt.Errorf("%w: page %d at %s", pinetree.ErrNotFound, o.numbers[i], read.LSN)
			}
		}
		for _, page := range read.Pages {
			if _, err := w.Write(page.Page); err != nil {
				return err
			}
		}
		return nil
	}
	found := make([]*pageJSON, len(read.Pages))
	list := cli.Listing{Columns: []string{"page", "bytes", "changed at", "read at", "answered", "node"}}
	for i, page := range read.Pages {
		row := []any{o.numbers[i], "never written", "–", read.LSN, read.Level, read.Node}
		if page.Found {
			found[i] = &pageJSON{o.numbers[i], page.Page, page.PageLSN}
			row[1], row[2] = len(page.Page), page.PageLSN
		}
		list.Rows = append(list.Rows, row)
	}
	list.JSON = struct {
		Pages []*pageJSON `json:"pages"`
		servedJSON
	}{found, servedOf(read.Served)}
	return o.Print(w, list)
}
