package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/localcluster"
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

// storyOfInterruptions: what goes on without the command that ordered it, and the
// command that goes on without the manager that it asked.
func storyOfInterruptions(s *story, c *localcluster.Cluster) {
	// Nobody else can lead group 2, so this drain does not come to its end.
	only := fmt.Sprint(told[[]shownGroup](s, "group", "ls")[1].Voters[0])
	s.refused(cli.ExitFailed, "is not over after 400ms and goes on", "node", "drain", only, "--timeout", "400ms")
	ctx, cancel := context.WithCancel(context.Background())
	out, ended := follow(ctx, "node", "drain", only)
	within(s.t, "it is told what the drain waits for", func() bool { return strings.Contains(out.String(), "1 group still led") })
	cancel()
	if code := <-ended; code != cli.ExitFailed || !strings.Contains(out.String(), "interrupted; the drain of node "+only+" goes on") {
		s.t.Errorf("an interrupted drain: exit code %d, %s", code, out)
	}
	s.says("draining", "node", "drain", only, "--no-wait")

	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	waits, drained := follow(ctx, "node", "drain", only)
	events, told := follow(ctx, "events", "--follow", "-o", "json")
	within(s.t, "events come", func() bool { return strings.Contains(events.String(), "activated") })
	if err := c.Manager.Stop(); err != nil {
		s.t.Fatal(err)
	}
	within(s.t, "the drain notices that the manager is gone", func() bool { return strings.Contains(waits.String(), "does not answer") })
	if err := c.Manager.Start(); err != nil {
		s.t.Fatal(err)
	}
	within(s.t, "the next reign is told of", func() bool { return strings.Count(events.String(), "manager_active") > 1 })
	s.says("alive", "node", "undrain", only)
	within(s.t, "the undrain is told of", func() bool { return strings.Contains(events.String(), "node_undrained") })
	cancel()
	if code := <-told; code != cli.ExitDone {
		s.t.Errorf("events --follow ends with %d", code)
	}
	if code := <-drained; code != cli.ExitFailed {
		s.t.Errorf("the interrupted drain ends with %d", code)
	}
	var last uint64
	for line := range strings.Lines(events.String()) {
		var e struct{ ID uint64 }
		if json.Unmarshal([]byte(line), &e) != nil {
			continue // said of the manager that is gone
		}
		if last != 0 && e.ID != last+1 {
			s.t.Errorf("event %d after %d", e.ID, last)
		}
		last = e.ID
	}
}
