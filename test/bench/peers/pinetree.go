package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
	"github.com/pinetree-db/pinetree/test/bench/peers/report"
)

// pinetree measures Pinetree by its own command, which starts three nodes and a
// manager and loads them from a process of its own.
type pinetree struct {
	binary string
	args   string // more arguments
}

// prepare builds the binary, unless there is one or nobody wants it.
func (p *pinetree) prepare(ctx context.Context, dir string, systems []string) error {
	if p.binary != "" || !slices.ContainsFunc(systems, report.IsPinetree) {
		return nil
	}
	root, err := repository()
	if err != nil {
		return err
	}
	p.binary = filepath.Join(dir, "pinetree")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", p.binary, "./cmd/pinetree")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build pinetree: %w\n%s", err, out)
	}
	return nil
}

// repository looks upwards for the module that this one is a part of.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module github.com/pinetree-db/pinetree\n")) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("this is no folder of the repository, so that pinetree cannot be built; give a binary with --pinetree")
		}
		dir = parent
	}
}

// load runs one load. The name of the system may tell the engine.
func (p *pinetree) load(ctx context.Context, name, dir string, cfg load.Config) (load.Result, error) {
	var result load.Result
	args := []string{
		"bench", "ship", "--json", "--dir", dir,
		"--record-size", strconv.Itoa(cfg.RecordSize), "--groups", strconv.Itoa(cfg.Groups),
		"--warmup", cfg.Warmup.String(), "--duration", cfg.Duration.String(),
	}
	if cfg.Window > 0 {
		args = append(args, "--window", strconv.Itoa(cfg.Window))
	} else {
		args = append(args, "--inflight", strconv.Itoa(cfg.Inflight))
	}
	if _, engine, ok := strings.Cut(name, ":"); ok {
		args = append(args, "--engine", engine)
	}
	err := p.run(ctx, cfg, append(args, strings.Fields(p.args)...), &result)
	return result, err
}

// run runs the binary, which prints one JSON object.
func (p *pinetree) run(ctx context.Context, cfg load.Config, args []string, said any) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.Warmup+cfg.Duration+3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.binary, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it ends its nodes
	cmd.WaitDelay = stopTimeout
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%v: %w: %s", cmd, err, bytes.TrimSpace(stderr.Bytes()))
	}
	if err := json.Unmarshal(stdout.Bytes(), said); err != nil {
		return fmt.Errorf("%v said %q: %w", cmd, stdout.Bytes(), err)
	}
	return nil
}

// versions are those of the systems that this binary has in it.
func versions() []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	var found []string
	for _, m := range info.Deps {
		for _, wanted := range []string{
			"github.com/hashicorp/raft", "github.com/hashicorp/raft-wal", "github.com/lni/dragonboat/v4",
			"go.etcd.io/etcd/server/v3", "github.com/nats-io/nats-server/v2", "google.golang.org/grpc",
		} {
			if m.Path == wanted {
				found = append(found, m.Path+" "+m.Version)
			}
		}
	}
	return found
}
