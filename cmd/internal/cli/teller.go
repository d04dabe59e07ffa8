package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// tellPace is how often, at most, a line is written where there is no terminal.
const tellPace = time.Second

// Teller says what a long operation waits for: in one line that is written over
// on a terminal, in plain lines elsewhere. It belongs to one goroutine.
type Teller struct {
	out      io.Writer
	terminal bool
	told     string
	when     time.Time
}

// NewTeller tells on a command's error output.
func NewTeller(cmd *cobra.Command) *Teller {
	t := &Teller{out: cmd.ErrOrStderr()}
	if f, isFile := t.out.(*os.File); isFile {
		t.terminal = Terminal(f)
	}
	return t
}

// Tell says how it is now, unless that was said last, or a moment ago.
func (t *Teller) Tell(words string) {
	switch {
	case words == t.told:
	case t.terminal:
		fmt.Fprintf(t.out, "\r\x1b[K%s", words)
		t.told = words
	case time.Since(t.when) >= tellPace:
		fmt.Fprintln(t.out, words)
		t.told, t.when = words, time.Now()
	}
}

// Done ends the line.
func (t *Teller) Done() {
	if t.terminal && t.told != "" {
		fmt.Fprintln(t.out)
	}
}
