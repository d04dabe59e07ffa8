package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

// buffer is written by a command and read by a test.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// follow runs a verb until ctx ends.
func follow(ctx context.Context, args ...string) (*buffer, <-chan int) {
	out, ended := &buffer{}, make(chan int, 1)
	c := clustermgr()
	c.SetOut(out)
	c.SetErr(out)
	c.SetArgs(args)
	go func() { ended <- cli.Execute(ctx, c) }()
	return out, ended
}

func within(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !check(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come true in 10 s that %s", what)
		}
	}
}

func storyOfShells(s *story) {
	ctx, cancel := context.WithCancel(context.Background())
	tables, tablesEnd := follow(ctx, "node", "ls", "--watch=100ms")
	lines, linesEnd := follow(ctx, "group", "ls", "--watch=100ms", "-o", "json")
	within(s.t, "listings come again and again", func() bool {
		return strings.Count(tables.String(), "address") > 2 && strings.Count(lines.String(), "\n") > 2
	})
	cancel()
	if a, b := <-tablesEnd, <-linesEnd; a != cli.ExitDone || b != cli.ExitDone {
		s.t.Errorf("watched listings end with %d and %d", a, b)
	}
	var groups []shownGroup
	if first, _, _ := strings.Cut(lines.String(), "\n"); json.Unmarshal([]byte(first), &groups) != nil || len(groups) != 2 {
		s.t.Errorf("a line of a watched listing: %s", first)
	}
	s.refused(cli.ExitUsage, "shortest", "node", "ls", "--watch=1ms")

	for want, args := range map[string][]string{
		"1\t":         {"node", "show", ""},
		"2\t":         {"group", "show", ""},
		"pg\t":        {"volume", "show", "p"},
		"3\t":         {"leader", "move", "1", "--to", ""},
		"activated\n": {"events", "--kind", "act"},
	} {
		if o := run(s.t, append([]string{"clustermgr", cobra.ShellCompRequestCmd}, args...)...); o.code != cli.ExitDone || !strings.Contains(o.out, want) {
			s.t.Errorf("completion of %v: %+v", args, o)
		}
	}
	began := time.Now()
	o := run(s.t, "clustermgr", cobra.ShellCompRequestCmd, "node", "show", "--manager", "127.0.0.1:1", "")
	if o.code != cli.ExitDone || !strings.HasPrefix(o.out, ":") || time.Since(began) > 2*time.Second {
		s.t.Errorf("completion without a manager, after %v: %+v", time.Since(began), o)
	}
}
