package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a process of this program that plays a role. What it says is heard by
// its own goroutine; everything else is called by the story's.
type child struct {
	number int
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
	exited chan struct{} // closed when it has ended and all that it said was heard

	mu      sync.Mutex
	said    map[string]event // the last one of each kind
	counts  map[string]int
	changed chan struct{} // closed and replaced by each event
}

// startChild starts a process and has hear called with all that it says, in order.
func startChild(number int, where place, hear func(*child, event), args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{
		number: number, exited: make(chan struct{}), said: map[string]event{}, counts: map[string]int{}, changed: make(chan struct{}),
	}
	c.cmd = exec.Command(self, append(args, "--manager", strings.Join(where.managers, ","), "--volume", where.volume)...)
	c.cmd.Stderr = &c.stderr
	c.cmd.SysProcAttr = childAttributes()
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.exited)
		lines := bufio.NewReader(stdout)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil { // the last line may have been cut by the kill
				break
			}
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				e = event{What: failedFor, Error: fmt.Sprintf("said %q: %v", line, err)}
			}
			hear(c, e)
			c.note(e)
		}
		_ = c.cmd.Wait() // how it ends is told by what it said
	}()
	return c, nil
}

func (c *child) note(e event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said[e.What] = e
	c.counts[e.What]++
	close(c.changed)
	c.changed = make(chan struct{})
}

// count is how many events of a kind there were.
func (c *child) count(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[what]
}

// waitTimeout bounds the wait for a process to get somewhere.
const waitTimeout = 30 * time.Second

// until waits for the n-th event of a kind and returns the last one. A process that
// fails or ends before is an error.
func (c *child) until(ctx context.Context, what string, n int) (event, error) {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	over := false
	for {
		c.mu.Lock()
		e, count, failed, changed := c.said[what], c.counts[what], c.said[failedFor], c.changed
		c.mu.Unlock()
		switch {
		case count >= n:
			return e, nil
		case failed.What != "":
			return e, fmt.Errorf("process %d failed: %s", c.number, failed.Error)
		case over:
			return e, fmt.Errorf("process %d has ended before it was %s; %s", c.number, what, c.stderr.String())
		}
		select {
		case <-changed:
		case <-c.exited:
			over = true
		case <-ctx.Done():
			return e, fmt.Errorf("process %d: waiting until it is %s: %w", c.number, what, context.Cause(ctx))
		}
	}
}

// kill ends the process as a crash does, and waits until all that it said was
// heard.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.exited
}

// stop asks the process to end and waits.
func (c *child) stop(ctx context.Context) error {
	_ = c.stdin.Close()
	if _, err := c.until(ctx, closed, 1); err != nil {
		return err
	}
	<-c.exited
	return nil
}

// signal stops or continues a process.
func (c *child) signal(s syscall.Signal) error { return c.cmd.Process.Signal(s) }

// killAll ends what is left of processes.
func killAll(children []*child) {
	for _, c := range slices.Backward(children) {
		c.kill()
	}
}
