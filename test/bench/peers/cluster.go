package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
)

const (
	readyTimeout  = 60 * time.Second // until a server says that it is ready
	answerTimeout = 10 * time.Second
	settleTimeout = 30 * time.Second // until all servers have all records
	stopTimeout   = 20 * time.Second
	pollInterval  = 50 * time.Millisecond
)

// A server is a child process that runs one server. It belongs to one
// goroutine.
type server struct {
	cmd       *exec.Cmd
	questions io.WriteCloser
	pipe      *os.File // the server's output
	answers   *bufio.Reader
	log       string
}

// A cluster is the three servers of one system.
type cluster struct {
	name           string
	peers, clients []string
	servers        []*server
}

// startCluster starts three servers in folders of dir and waits until one of
// them is ready for a load.
func startCluster(ctx context.Context, name, dir string) (*cluster, error) {
	addrs, err := freeAddresses(2 * replica.Count)
	if err != nil {
		return nil, err
	}
	c := &cluster{name: name, peers: addrs[:replica.Count], clients: addrs[replica.Count:]}
	for id := 1; id <= replica.Count; id++ {
		s, err := c.startServer(replica.ID(id), dir)
		if err != nil {
			return nil, errors.Join(err, c.stop())
		}
		c.servers = append(c.servers, s)
	}
	if _, err := c.ready(ctx); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *cluster) startServer(id replica.ID, dir string) (*server, error) {
	own := filepath.Join(dir, replica.NameOf(id))
	if err := os.Mkdir(own, 0o755); err != nil {
		return nil, err
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{log: own + ".log", cmd: exec.Command(binary, "server", "--system", c.name,
		"--id", strconv.Itoa(int(id)), "--dir", own,
		"--peers", strings.Join(c.peers, ","), "--clients", strings.Join(c.clients, ","))}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Stderr = log
	if s.questions, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	var output *os.File
	if s.pipe, output, err = os.Pipe(); err != nil {
		return nil, err
	}
	defer output.Close()
	s.answers = bufio.NewReader(s.pipe)
	s.cmd.Stdout = output
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, s.pipe.Close())
	}
	return s, nil
}

// ask returns the server's status. A server that is still starting answers
// late, so that the deadline is the caller's to choose.
func (s *server) ask(timeout time.Duration) (replica.Status, error) {
	var status replica.Status
	if err := s.pipe.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return status, err
	}
	_, err := io.WriteString(s.questions, "status\n")
	if err == nil {
		var line []byte
		if line, err = s.answers.ReadBytes('\n'); err == nil {
			err = json.Unmarshal(line, &status)
		}
	}
	if err != nil {
		return status, fmt.Errorf("ask a server for its status: %w; %s", err, s.said())
	}
	return status, nil
}

// said is the end of the server's log.
func (s *server) said() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return "its log is empty"
	}
	return "its log ends with: " + string(text[max(0, len(text)-2000):])
}

// ready waits for a server that wants the load, and returns its address.
func (c *cluster) ready(ctx context.Context) (string, error) {
	deadline := time.Now().Add(readyTimeout)
	problem := ""
	for time.Now().Before(deadline) && ctx.Err() == nil {
		for i, s := range c.servers {
			status, err := s.ask(time.Until(deadline))
			if err != nil {
				return "", err
			}
			if status.Ready {
				return c.clients[i], nil
			}
			problem = status.Problem
		}
		pause(ctx, pollInterval)
	}
	return "", errors.Join(ctx.Err(), fmt.Errorf("no server of %s was ready within %v: %s", c.name, readyTimeout, problem))
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// load runs the load in a process of its own, and then checks that every server
// has every record once.
func (c *cluster) load(ctx context.Context, cfg load.Config) (load.Result, error) {
	var result load.Result
	ready, err := c.ready(ctx)
	if err != nil {
		return result, err
	}
	binary, err := os.Executable()
	if err != nil {
		return result, err
	}
	var pids []string
	for _, s := range c.servers {
		pids = append(pids, strconv.Itoa(s.cmd.Process.Pid))
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Warmup+cfg.Duration+2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "load", "--system", c.name,
		"--clients", strings.Join(c.clients, ","), "--ready", ready, "--pids", strings.Join(pids, ","),
		"--inflight", strconv.Itoa(cfg.Inflight), "--window", strconv.Itoa(cfg.Window),
		"--record-size", strconv.Itoa(cfg.RecordSize), fmt.Sprintf("--reads=%v", cfg.Reads),
		"--warmup", cfg.Warmup.String(), "--duration", cfg.Duration.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return result, fmt.Errorf("the load failed: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	if err := json.Unmarshal(out, &result); err != nil {
		return result, fmt.Errorf("the load said %q: %w", out, err)
	}
	return result, c.settle(ctx, result.Acked)
}

// settle waits until all servers have as many records as were acknowledged, or as
// were written to be read.
// Fewer would be a loss, more a record that was committed twice: either way,
// something else was measured than what the table says.
func (c *cluster) settle(ctx context.Context, acked uint64) error {
	deadline := time.Now().Add(settleTimeout)
	for i := 0; i < len(c.servers); {
		status, err := c.servers[i].ask(answerTimeout)
		switch {
		case err != nil:
			return err
		case status.Records == acked:
			i++
		case status.Records > acked || time.Now().After(deadline) || ctx.Err() != nil:
			return fmt.Errorf("%d records were acknowledged, but server %d of %s has %d %s", acked, i+1, c.name, status.Records, status.Problem)
		default:
			pause(ctx, pollInterval)
		}
	}
	return nil
}

// stop ends all servers; those that do not end by themselves are killed.
func (c *cluster) stop() error {
	var errs []error
	for _, s := range c.servers {
		errs = append(errs, s.questions.Close())
	}
	for _, s := range c.servers {
		kill := time.AfterFunc(stopTimeout, func() { _ = s.cmd.Process.Kill() })
		if err := s.cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("a server of %s ended badly: %w; %s", c.name, err, s.said()))
		}
		kill.Stop()
		errs = append(errs, s.pipe.Close())
	}
	return errors.Join(errs...)
}

// freeAddresses returns addresses of this machine that were free a moment ago.
func freeAddresses(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all are held until all are known
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
