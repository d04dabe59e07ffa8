// Command peers measures Pinetree, other replicated logs and a bare floor with
// the same loads on this machine, in turns, and says how they compare. It is
// three programs in one: `run` does the comparison, and starts itself as
// `server` three times and as `load` once for each measurement. `report` makes
// the tables anew from what `run` has stored.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

var commands = map[string]func(context.Context, []string) error{
	"run": runCommand, "server": serverCommand, "load": loadCommand, "report": reportCommand,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	name, args := "run", os.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	command := commands[name]
	if command == nil {
		fmt.Fprintf(os.Stderr, "peers: there is no command %q; there are run (when none is given), report, server and load\n", name)
		os.Exit(2)
	}
	switch err := command(ctx, args); {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}
