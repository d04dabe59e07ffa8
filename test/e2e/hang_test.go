package e2e

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// hangs are the rounds and the bars for a leader that hangs: from its last
// acknowledgement to the first by another one.
func hangs(t *testing.T) (int, bars) {
	t.Helper()
	limit := bars{worst: 10 * time.Second}
	if full() {
		limit = bars{worst: 3 * time.Second}
	}
	return rounds(t, 2, 20), limit
}

// hangFsync makes every fsync of a process wait for ever, from when it returns
// until the function that it returns is called. Everything else goes on, above all
// the network.
func hangFsync(t *testing.T, n *node) (end func()) {
	t.Helper()
	return delayFsync(t, n, time.Hour)
}

// delayFsync makes every fsync of a process take that much longer, until the
// function that it returns is called.
func delayFsync(t *testing.T, n *node, by time.Duration) (end func()) {
	t.Helper()
	tracer := exec.Command("strace", "-f", "-p", fmt.Sprint(n.cmd.Process.Pid), "-o", "/dev/null",
		"-e", "trace=fsync,fdatasync", "-e", fmt.Sprintf("inject=fsync,fdatasync:delay_enter=%dus", by.Microseconds()))
	tracer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := tracer.StderrPipe()
	if err == nil {
		err = tracer.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	words := make([]byte, 4096)
	count, err := said.Read(words)
	if err != nil || !strings.Contains(string(words[:count]), "attached") {
		t.Fatalf("strace says %q, %v", words[:count], err)
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, said)
	}()
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = tracer.Process.Kill()
			<-drained
			_ = tracer.Wait() // it was killed
		}
	}
	t.Cleanup(end)
	return end
}

// TestFailoverOfALeaderWithAHungDisk lets every fsync on the leader's node hang
// while its network works: another one leads within the bar.
func TestFailoverOfALeaderWithAHungDisk(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skipf("it needs strace to hold up fsync: %v", err)
	}
	rounds, limit := hangs(t)
	c := startReachable(t, 3)
	volume := c.createVolume("v", pinetree.FormatOpaque)
	l := c.load("v")
	var gaps, until sample
	for round := range rounds {
		c.settled(volume.Group)
		var began time.Time
		end := func() {}
		_, got := l.loseLeader(round, volume.Group, func(n *node) {
			end = hangFsync(t, n)
			began = time.Now()
		})
		gaps = append(gaps, got.gap())
		until = append(until, max(0, got.first.Sub(began)))
		end()
	}
	gaps.judge(t, "disk of the leader hangs, nobody acknowledges", limit)
	until.judge(t, "disk of the leader hangs, until another leads", limit)
	end := l.end()
	c.settled(volume.Group)
	c.verify(volume.Volume, end)
}
