// Command example is a database's compute side on Pinetree, for those who build
// one: a bank on a page store with transactions, whose compute node is killed at
// each of its steps, replaced while it runs, and read from a second one. It
// starts a cluster of its own, or takes one that runs, and ends with exit code 0
// only if every account is right at every step. What to copy is the package
// pagestore; the rest is the story around it.
//
//	go run ./adapter/ship/example
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("wrong usage")

// The roles of the processes beside the first one. They say what happens to them
// as lines of JSON.
const (
	roleCompute = "compute"
	roleReader  = "reader"
)

// run is the first process's life, or that of one it started.
func run(ctx context.Context, args []string) error {
	role := ""
	if len(args) > 0 && (args[0] == roleCompute || args[0] == roleReader) {
		role, args = args[0], args[1:]
	}
	var where place
	flags := flag.NewFlagSet("example "+role, flag.ContinueOnError)
	managers := flags.String("manager", "", "address of a running cluster's manager, or several with commas; a cluster is started otherwise")
	flags.StringVar(&where.volume, "volume", "bank", "name of the volume, which is made and must be new")
	if role != "" {
		life := new(life)
		flags.IntVar(&life.step, "die-at", 0, "the step at which to stand still and be killed")
		flags.IntVar(&life.time, "time", 1, "at which time that the step comes")
		flags.BoolVar(&life.large, "large", false, "make large transactions only")
		if err := flags.Parse(args); err != nil {
			return err
		}
		where.managers = strings.Split(*managers, ",")
		if role == roleReader {
			return read(ctx, where)
		}
		return compute(ctx, where, life)
	}
	s := story{out: os.Stdout, began: time.Now()}
	binary := flags.String("pinetree", "", "the built pinetree with which to start a cluster; it is built when none is named")
	steps := flags.String("steps", "", "numbers of the steps at which to kill, such as 2,10; all of them otherwise")
	flags.IntVar(&s.rounds, "rounds", 1, "how often to kill at each step")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if s.steps, err = parseSteps(*steps); err != nil || flags.NArg() > 0 || s.rounds < 1 {
		return fmt.Errorf("%w: %w; --help tells what there is", errUsage, errors.Join(err, fmt.Errorf("arguments %q", args)))
	}
	if *managers != "" {
		where.managers = strings.Split(*managers, ",")
	}
	s.where = where
	return s.tell(ctx, *binary)
}

// place is where the database is.
type place struct {
	managers []string
	volume   string
}

// parseSteps reads the numbers of steps; none means all.
func parseSteps(list string) ([]int, error) {
	var steps []int
	if list == "" {
		for n := range lastStep {
			steps = append(steps, n+1)
		}
		return steps, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || n > lastStep {
			return nil, fmt.Errorf("step %q: want a number from 1 to %d", part, lastStep)
		}
		steps = append(steps, n)
	}
	return steps, nil
}

// say prints a line of the story.
func say(out io.Writer, since time.Time, topic, format string, args ...any) {
	fmt.Fprintf(out, "%5.1f s  %-9s %s\n", time.Since(since).Seconds(), topic, fmt.Sprintf(format, args...))
}
