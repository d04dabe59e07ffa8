package localcluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end when it is asked to.
const stopTimeout = 5 * time.Second

// Process is a child process that can be killed and started again. Any
// goroutine may call it.
type Process struct {
	Name string
	// Addr is where it listens.
	Addr string
	// Metrics is where it serves metrics and profiles; empty when it does not.
	Metrics string
	// Dir is the directory of a node; empty for the manager.
	Dir string
	// Log is the file that its output is appended to.
	Log string

	binary string
	args   []string

	mu     sync.Mutex
	cmd    *exec.Cmd     // nil before the first start
	exited chan struct{} // closed when cmd has ended
	ended  error         // how, once exited is closed
}

// Start starts the process, which must not be running.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("%s is running already", p.Name)
	}
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close() // the child has its own copy
	cmd := exec.Command(p.binary, p.args...)
	cmd.Stdout, cmd.Stderr = out, out
	// In a process group of its own, so that Ctrl-C reaches the parent alone,
	// which stops the children in order.
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd, p.exited = cmd, make(chan struct{})
	exited := p.exited
	go func() {
		p.ended = cmd.Wait()
		close(exited)
	}()
	return nil
}

// running tells whether there is a process; p.mu is held.
func (p *Process) running() bool {
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

// Pid is the process's id; zero when it is not running.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return 0
	}
	return p.cmd.Process.Pid
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// Kill ends the process as a crash does, and waits until it is gone.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL, stopTimeout) }

// Stop asks the process to end, waits, and kills it when it takes too long.
func (p *Process) Stop() error {
	if err := p.end(syscall.SIGTERM, stopTimeout); err == nil {
		return nil
	}
	return p.Kill()
}

func (p *Process) end(s syscall.Signal, patience time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return nil
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s did not end within %v of %v", p.Name, patience, s)
	}
}

// Failure describes a process that ended although it should not have, with the
// end of its log.
func (p *Process) Failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.running() {
		return nil
	}
	return fmt.Errorf("%s has ended (%v); its log %s ends with:\n%s", p.Name, p.ended, p.Log, lastLines(p.Log))
}

// maxLogBytes is how much of a log Failure shows.
const maxLogBytes = 2000

func lastLines(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(data) > maxLogBytes {
		data = data[len(data)-maxLogBytes:]
		if _, after, cut := bytes.Cut(data, []byte("\n")); cut {
			data = after
		}
	}
	return string(data)
}

// NewChild prepares a process of the calling binary that is no part of a
// cluster. It is given its address by --listen, and logs to a file of its name in
// dir.
func NewChild(dir, name string, args ...string) (*Process, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addrs, err := freeAddresses(1)
	if err != nil {
		return nil, err
	}
	return &Process{
		Name: name, Addr: addrs[0], Log: filepath.Join(dir, name+".log"), binary: binary, args: append(args, "--listen", addrs[0]),
	}, nil
}
