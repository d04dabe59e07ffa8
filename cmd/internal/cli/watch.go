package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

const (
	// usualWatch is how often a watched listing is made when it is not told.
	usualWatch = "2s"
	// shortestWatch bounds the load that a watched listing is.
	shortestWatch = 100 * time.Millisecond
)

// Watching is a listing that is made again and again.
type Watching struct{ every time.Duration }

// Flag adds --watch to a command.
func (w *Watching) Flag(c *cobra.Command) {
	c.Flags().DurationVar(&w.every, "watch", 0, "list again and again, every 2s or as often as --watch=INTERVAL says, until interrupted")
	c.Flags().Lookup("watch").NoOptDefVal = usualWatch
}

// Print prints what ask returns: once, or until the command is interrupted. A
// terminal is cleared before each; elsewhere tables follow each other, and each
// JSON document is one line. Once a listing was made, one that cannot be made is
// told of on the error output and the next is tried.
func (w *Watching) Print(cmd *cobra.Command, o *Output, ask func() (Listing, error)) error {
	if w.every != 0 && w.every < shortestWatch {
		return Usagef("--watch=%v: the shortest interval is %v", w.every, shortestWatch)
	}
	out := cmd.OutOrStdout()
	l, err := ask()
	if err != nil {
		return err
	}
	if w.every == 0 {
		return o.Print(out, l)
	}
	for {
		if err != nil {
			fmt.Fprintln(cmd.ErrOrStderr(), words(err))
		} else if err := w.print(out, o, l, cmd.CommandPath()); err != nil {
			return err
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-time.After(w.every):
		}
		if l, err = ask(); cmd.Context().Err() != nil {
			return nil
		}
	}
}

// clearScreen moves a terminal's cursor to the first line and empties the screen.
const clearScreen = "\x1b[H\x1b[2J"

func (w *Watching) print(out io.Writer, o *Output, l Listing, title string) error {
	if o.JSON() {
		return PrintLine(out, l.JSON)
	}
	var page bytes.Buffer // so that a terminal is not empty for long
	if f, isFile := out.(*os.File); isFile && Terminal(f) {
		fmt.Fprintf(&page, "%s%s  every %v, %s\n\n", clearScreen, title, w.every, time.Now().Format(time.TimeOnly))
	}
	if err := l.Table(&page); err != nil {
		return err
	}
	_, err := out.Write(page.Bytes())
	return err
}

// PrintLine writes one document in one line.
func PrintLine(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", data)
	return err
}
