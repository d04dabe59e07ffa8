package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Confirmation is an operator's word that something is to be destroyed.
type Confirmation struct{ yes bool }

// Flag adds --yes to a command.
func (c *Confirmation) Flag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.yes, "yes", false, "do it without asking")
}

// Loss is what is to be destroyed.
type Loss struct {
	What string // in a sentence
	Name string // to be typed
}

// Ask has the name of what is lost typed at the terminal. Without a terminal it
// refuses, unless --yes was given.
func (c *Confirmation) Ask(cmd *cobra.Command, loss Loss) error {
	if c.yes {
		return nil
	}
	in, isFile := cmd.InOrStdin().(*os.File)
	if !isFile || !Terminal(in) {
		return Usagef("%s There is no terminal to ask at; add --yes if that is what you want", loss.What)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s\nType %s to go on: ", loss.What, loss.Name)
	typed, err := line(cmd.Context(), in)
	if err != nil {
		return fmt.Errorf("nothing was done: %w", err)
	}
	if typed != loss.Name {
		return fmt.Errorf("nothing was done: %q was typed, not %q", typed, loss.Name)
	}
	return nil
}

// line reads a line that a person types. Who interrupts does not wait for the
// reading goroutine, which ends with the process.
func line(ctx context.Context, in io.Reader) (string, error) {
	type answer struct {
		text string
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		text, err := bufio.NewReader(in).ReadString('\n')
		read <- answer{strings.TrimSpace(text), err}
	}()
	select {
	case a := <-read:
		if a.text != "" {
			return a.text, nil
		}
		return "", a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
