package main

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree"
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
	c := &cobra.Command{Use: "get PAGE", Short: "Print a page", Args: cobra.ExactArgs(1)}
	f.flag(c, "default")
	output.Flag(c)
	c.Flags().StringVar(&at, "at", "", "read the state as of this LSN")
	c.Flags().BoolVar(&raw, "raw", false, "write the page's bytes and nothing else")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		number, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return cli.Usagef("page %q: want its number", args[0])
		}
		client, reader, err := f.reader(cmd, at)
		if err != nil {
			return err
		}
		defer client.Close()
		read, err := reader.Page(cmd.Context(), pinetree.PageNo(number))
		if err != nil {
			return err
		}
		if raw {
			_, err := cmd.OutOrStdout().Write(read.Page)
			return err
		}
		if err := output.Print(cmd.OutOrStdout(), cli.Listing{
			JSON: struct {
				Page    uint64       `json:"page"`
				Bytes   []byte       `json:"bytes"` // base64
				PageLSN pinetree.LSN `json:"lsn"`
				servedJSON
			}{number, read.Page, read.PageLSN, servedOf(read.Served)},
			Columns: []string{"page", "bytes", "changed at", "read at", "answered", "node"},
			Rows:    [][]any{{number, len(read.Page), read.PageLSN, read.LSN, read.Level, read.Node}},
		}); err != nil || output.JSON() {
			return err
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), hex.Dump(read.Page))
		return err
	}
	return c
}
