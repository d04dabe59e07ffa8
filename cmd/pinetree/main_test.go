package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/operator"
)

// beBinary, in the environment, makes the test binary be pinetree itself, so
// that the processes that a test starts are those of the code under test.
const beBinary = "PINETREE_TEST_IS_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(beBinary) != "" {
		main()
	}
	os.Setenv(beBinary, "1")
	cli.Colors(io.Discard)
	os.Exit(m.Run())
}

// outcome is what a command printed and returned.
type outcome struct {
	code     int
	out, err string
}

// run runs a command in this process: one of pinetree's, or after "clustermgr"
// one of the operator's.
func run(t *testing.T, args ...string) outcome {
	t.Helper()
	return runWith(t, nil, args...)
}

func runWith(t *testing.T, stdin []byte, args ...string) outcome {
	t.Helper()
	c := root()
	if args[0] == "clustermgr" {
		c = &cobra.Command{Use: "clustermgr"}
		c.AddCommand(operator.Commands()...)
		args = args[1:]
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	c.SetIn(bytes.NewReader(stdin))
	c.SetOut(&out)
	c.SetErr(&errs)
	c.SetArgs(args)
	return outcome{cli.Execute(ctx, c), out.String(), errs.String()}
}

// must runs a command that must be done.
func must(t *testing.T, args ...string) string {
	t.Helper()
	o := run(t, args...)
	if o.code != cli.ExitDone {
		t.Fatalf("%s: exit code %d, %s", strings.Join(args, " "), o.code, o.err)
	}
	return o.out
}

// parsed runs a command that must be done and reads its JSON.
func parsed[T any](t *testing.T, args ...string) T {
	t.Helper()
	var v T
	text := must(t, append(args, "-o", "json")...)
	decoder := json.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%s: %v in %s", strings.Join(args, " "), err, text)
	}
	if decoder.More() {
		t.Fatalf("%s: more than one document: %s", strings.Join(args, " "), text)
	}
	return v
}

func TestWrongCallsEndWithTwoAndSayHow(t *testing.T) {
	for _, args := range [][]string{
		{"no-such-command"},
		{"tail", "--no-such-flag"},
		{"tail", "--volume", "v", "stray"},
		{"tail"},
		{"tail", "--volume", "v", "--from", "not an LSN"},
		{"tail", "--volume", "v", "--read", "fresh"},
		{"tail", "--volume", "v", "-o", "xml"},
		{"tail", "--volume", "v", "--committed"},
		{"key"},
		{"key", "get", "--volume", "v"},
		{"key", "put", "--volume", "v", "k"},
		{"key", "ls", "--volume", "v", "--limit", "0"},
		{"meta"},
		{"meta", "get", "--volume", "v"},
		{"meta", "range", "b", "a", "--volume", "v"},
		{"meta", "put", "k", "v", "--volume", "v", "--if-absent", "--if-modified", "3"},
		{"meta", "txn", "--volume", "v"},
		{"meta", "txn", "--volume", "v", "--if", "version k is 0", "--then", "get k"},
		{"meta", "txn", "--volume", "v", "--then", "put k"},
		{"meta", "txn", "--volume", "v", "--then", "put \"k v"},
		{"meta", "watch", "--volume", "v", "--after", "3", "--history"},
		{"meta", "compact", "all", "--volume", "v"},
		{"page", "get", "first", "--volume", "v"},
		{"ship", "--volume", "v"},
		{"ship", "--volume", "v", "-", "-"},
		{"ship", "--volume", "v", "--create", "--format", "jpeg", "-"},
		{"ship", "-"},
		{"node"},
		{"node", "--dir", "d", "--listen", "127.0.0.1:0", "--engine", "abacus"},
		{"node", "--dir", "d", "--listen", "127.0.0.1:0", "--transport", "pigeon"},
		{"node", "--dir", "d", "--listen", "127.0.0.1:0", "--log-level", "loud"},
		{"node", "--config", "no/such/file"},
		{"manager", "--listen", "127.0.0.1:0"},
		{"manager", "--listen", "127.0.0.1:0", "--embed-etcd", "d", "--etcd", "127.0.0.1:1"},
		{"dev", "--nodes", "0"},
		{"bench"},
		{"bench", "ship", "--inflight", "0"},
		{"bench", "ship", "--inflight", "1", "--window", "4MiB"},
		{"bench", "ship", "--window", "1"},
		{"bench", "ship", "--record-size", "9MiB"},
		{"bench", "ship", "--record-size", "130", "--format", "redo"},
		{"bench", "ship", "--together", "2"},
		{"bench", "ship", "--rate", "-1"},
		{"bench", "ship", "--duration", "0s"},
		{"bench", "ship", "--groups", "3", "--volumes", "2"},
		{"bench", "ship", "--groups", "3", "--inflight", "2"},
		{"bench", "ship", "--engine", "abacus"},
		{"bench", "ship", "--target", "127.0.0.1:1", "--engine", "memory"},
		{"bench", "ship", "--table", "--rate", "5"},
		{"bench", "ship", "--allocs"},
		{"key", "get", "a", "--volume", "v", "--manager", "127.0.0.1:1", "--max-staleness", "1s"},
		{"key", "get", "a", "--volume", "v", "--manager", "127.0.0.1:1", "--read", "stale", "--max-staleness", "1us"},
		{"dump"},
		{"demo", "what"},
		{"clustermgr", "leader"},
		{"clustermgr", "leader", "move"},
		{"clustermgr", "leader", "move", "one"},
		{"clustermgr", "volume", "create"},
		{"clustermgr", "node", "ls", "-o", "yaml"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			o := run(t, args...)
			if o.code != cli.ExitUsage || !strings.Contains(o.err, "--help") {
				t.Errorf("exit code %d, %q; want 2 and the way to the help", o.code, o.err)
			}
		})
	}
}

func TestFailuresEndWithOne(t *testing.T) {
	nobody := []string{"--manager", "127.0.0.1:1"}
	for _, args := range [][]string{
		append([]string{"clustermgr", "node", "ls"}, nobody...),
		{"dump", "no/such/path"},
		{"dump", t.TempDir()},
		append([]string{"ship", "--volume", "v", "no/such/segments"}, nobody...),
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			if o := run(t, args...); o.code != cli.ExitFailed || o.err == "" {
				t.Errorf("exit code %d, %q; want 1 and what failed", o.code, o.err)
			}
		})
	}
	if o := run(t, append([]string{"clustermgr", "node", "ls"}, nobody...)...); !strings.Contains(o.err, "clustermgr serve") {
		t.Errorf("no manager: %q does not say what to do", o.err)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s says nothing of itself", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root())
	if o := run(t, "--help"); o.code != cli.ExitDone || !strings.Contains(o.out, "demo") {
		t.Errorf("--help: exit code %d, %q", o.code, o.out)
	}
}
