package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// binary is the built pinetree.
var binary string

func TestMain(m *testing.M) {
	if plan := os.Getenv(tailerEnv); plan != "" {
		os.Exit(tailer(plan))
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "pinetree-e2e-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "pinetree")
		if err := build(binary); err != nil {
			fmt.Fprintln(os.Stderr, "building pinetree:", err)
			return 1
		}
		status := m.Run()
		if table := report.table(); table != "" {
			fmt.Println(table)
		}
		return status
	}())
}

// build makes the program, with more arguments to go build.
func build(out string, more ...string) error {
	args := append([]string{"build", "-o", out}, more...)
	if os.Getenv("PINETREE_E2E_RACE") != "" {
		args = append(args, "-race")
	}
	b := exec.Command("go", append(args, "../../cmd/pinetree")...)
	b.Stdout, b.Stderr = os.Stderr, os.Stderr
	return b.Run()
}

// process is a program that the test started and will end.
type process struct {
	t      *testing.T
	name   string
	args   []string
	log    string
	binary string   // the built pinetree when empty
	env    []string // besides this process's own
	cmd    *exec.Cmd
	exited chan struct{}
}

func (p *process) start() {
	p.t.Helper()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	p.cmd = exec.Command(cmp.Or(p.binary, binary), p.args...)
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd, exited := p.cmd, make(chan struct{})
	p.exited = exited
	go func() {
		// Killed processes end with an error; what matters is that they end.
		_ = cmd.Wait()
		close(exited)
	}()
}

func (p *process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// kill ends the process as a crash does.
func (p *process) kill() {
	if p.running() {
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.exited
	}
}

func (p *process) signal(s syscall.Signal) {
	if p.running() {
		if err := p.cmd.Process.Signal(s); err != nil {
			p.t.Errorf("%s: %v", p.name, err)
		}
	}
}

// output is what a process has said.
func (p *process) output() string {
	p.t.Helper()
	data, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

// tail prints the end of a process's log, for a test that failed.
func (p *process) tail() {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return
	}
	if len(data) > 6000 {
		data = data[len(data)-6000:]
	}
	p.t.Logf("---- end of the log of %s:\n%s", p.name, data)
}

// Ports that are listened on come from below those that the system gives to
// connections (32768 and up, see ip(7)): nodes call from addresses of their own,
// so that a call would sooner or later have the port that a node is about to
// listen on.
const firstPort, lastPort = 10_000, 32_000

// freeAddr picks a port of a loopback host that nobody listens on.
func freeAddr(t *testing.T, host string) string {
	t.Helper()
	var last error
	for range 100 {
		addr := net.JoinHostPort(host, fmt.Sprint(firstPort+rand.IntN(lastPort-firstPort)))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			l.Close()
			return addr
		}
		last = err
	}
	t.Fatal(last)
	return ""
}

// within polls until check holds.
func within(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
