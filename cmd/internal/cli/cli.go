// Package cli is what Pinetree's commands have in common: exit codes, signals,
// the output formats, and finding a cluster manager. It knows no verb.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/status"
)

// Exit codes that scripts may rely on.
const (
	ExitDone   = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// UsageError is a command that was called the wrong way.
type UsageError struct{ Err error }

// Error says what is wrong with the call.
func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e UsageError) Unwrap() error { return e.Err }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Main runs a command with the process's arguments and returns the exit code.
// SIGINT and SIGTERM end the command's context; a second one ends the process.
// The commands that servers names run until then, beside others on the machine.
func Main(root *cobra.Command, servers ...string) int {
	if c, _, err := root.Find(os.Args[1:]); err == nil && slices.Contains(servers, c.Name()) {
		beLate()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	Colors(root.OutOrStdout())
	return Execute(ctx, root)
}

// Execute runs a command, says on its error output what went wrong, and returns
// the exit code.
func Execute(ctx context.Context, root *cobra.Command) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return UsageError{err} })
	CheckArgs(root)
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return Settle(c) }
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitDone
	}
	fmt.Fprintf(root.ErrOrStderr(), "%s: %s\n", cmd.CommandPath(), words(err))
	var usage UsageError
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "required flag") {
		fmt.Fprintf(root.ErrOrStderr(), "Run '%s --help' for how to call it.\n", cmd.CommandPath())
		return ExitUsage
	}
	return ExitFailed
}

// Settle gives the flags that were not set on the command line the values of the
// environment, and of the context that is chosen.
func Settle(c *cobra.Command) error {
	if err := FromEnvironment(c); err != nil {
		return err
	}
	return FromContext(c)
}

// CheckArgs makes wrong arguments of a command, and of those below it, usage
// errors. A command without an argument check takes none; one that only groups
// others demands one of them.
func CheckArgs(c *cobra.Command) {
	check := c.Args
	if check == nil {
		check = cobra.NoArgs
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return UsageError{err}
		}
		return nil
	}
	if c.HasSubCommands() && !c.Runnable() {
		c.RunE = func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return Usagef("say which: %s", strings.Join(names(cmd), ", "))
		}
	}
	for _, sub := range c.Commands() {
		CheckArgs(sub)
	}
}

func names(c *cobra.Command) []string {
	var list []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			list = append(list, sub.Name())
		}
	}
	return list
}

// words says an error without the wrapping of gRPC, when it is nothing else.
func words(err error) string {
	if s, ok := status.FromError(err); ok && strings.HasPrefix(err.Error(), "rpc error: ") && s.Message() != "" {
		return s.Message()
	}
	return err.Error()
}
