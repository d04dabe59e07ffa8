package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
)

// Output is the format of a listing.
type Output struct{ format string }

// Flag adds -o to a command.
func (o *Output) Flag(c *cobra.Command) {
	c.Flags().StringVarP(&o.format, "output", "o", "table", "how to print: table or json")
}

// Listing is something that can be printed both ways.
type Listing struct {
	JSON    any // what -o json prints, one document
	Columns []string
	Rows    [][]any
	Empty   string   // said on an empty table
	Below   []string // lines under the table
}

// Check reports a format that there is not, before anything is done.
func (o *Output) Check() error {
	if o.format != "table" && o.format != "json" {
		return Usagef("-o %s: formats are table and json", o.format)
	}
	return nil
}

// Print writes a listing in the chosen format.
func (o *Output) Print(w io.Writer, l Listing) error {
	if err := o.Check(); err != nil {
		return err
	}
	if o.JSON() {
		return PrintJSON(w, l.JSON)
	}
	return l.Table(w)
}

// Table writes a listing as a table.
func (l Listing) Table(w io.Writer) error {
	if len(l.Rows) == 0 && l.Empty != "" {
		_, err := fmt.Fprintln(w, l.Empty)
		return err
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatLower
	t.Style().Options = table.Options{SeparateColumns: false, SeparateHeader: false, DrawBorder: false}
	head := make(table.Row, len(l.Columns))
	for i, c := range l.Columns {
		head[i] = c
	}
	t.AppendHeader(head)
	for _, row := range l.Rows {
		t.AppendRow(row)
	}
	_, err := fmt.Fprintln(w, strings.Join(append([]string{t.Render()}, l.Below...), "\n"))
	return err
}

// PrintJSON writes one indented document.
func PrintJSON(w io.Writer, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, string(data))
	return err
}

// JSON tells that the output is to be JSON and nothing else.
func (o *Output) JSON() bool { return o.format == "json" }
