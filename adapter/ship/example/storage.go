package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	program = "github.com/pinetree-db/pinetree/cmd/pinetree"
	// startTimeout bounds the start of a cluster, stopTimeout its end.
	startTimeout, stopTimeout = 40 * time.Second, 15 * time.Second
	replicas                  = 3
)

// storage is a cluster that the example has started.
type storage struct {
	dir string
	cmd *exec.Cmd
	out bytes.Buffer // what went wrong
	end chan struct{}
}

// startStorage runs `pinetree dev` and returns its manager's address.
func startStorage(ctx context.Context, binary string) (*storage, string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "pinetree-example-")
	if err != nil {
		return nil, "", err
	}
	s := &storage{dir: dir, end: make(chan struct{})}
	addr, err := s.start(ctx, binary)
	if err != nil {
		return nil, "", errors.Join(err, s.close())
	}
	return s, addr, nil
}

func (s *storage) start(ctx context.Context, binary string) (string, error) {
	if binary == "" {
		binary = filepath.Join(s.dir, "pinetree")
		build := exec.CommandContext(context.WithoutCancel(ctx), "go", "build", "-o", binary, program)
		if said, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build pinetree: %w; run the example from the project's folder, or name a built one with --pinetree\n%s", err, said)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return "", err
	}
	s.cmd = exec.Command(binary, "dev", "--nodes", fmt.Sprint(replicas), "--listen", addr, "--dir", filepath.Join(s.dir, "cluster"))
	s.cmd.Stderr = &s.out
	s.cmd.SysProcAttr = childAttributes()
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := s.cmd.Start(); err != nil {
		return "", err
	}
	ready := make(chan struct{})
	go func() {
		defer close(s.end)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "Ctrl-C") {
				close(ready)
			}
		}
		_ = s.cmd.Wait()
	}()
	select {
	case <-ready:
		return addr, nil
	case <-s.end:
		return "", fmt.Errorf("the cluster has ended: %s", s.out.String())
	case <-ctx.Done():
		return "", fmt.Errorf("start a cluster: %w", context.Cause(ctx))
	}
}

// close ends the cluster and deletes what it has kept.
func (s *storage) close() error {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.end:
		case <-time.After(stopTimeout):
			_ = s.cmd.Process.Kill()
			<-s.end
		}
	}
	return os.RemoveAll(s.dir)
}

// createVolume makes the bank's volume, as `clustermgr volume create` does, as soon
// as there are nodes to carry it.
func createVolume(ctx context.Context, where place) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+where.managers[0], append(wirepb.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), grpc.WithChainUnaryInterceptor(wirepb.UnaryClientErrors))...)
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		_, err := wirepb.NewManagerClient(conn).CreateVolume(ctx, &wirepb.CreateVolumeRequest{
			Name: where.volume, Format: uint32(pinetree.FormatRedo), Replicas: replicas,
		})
		if err == nil || errors.Is(err, pinetree.ErrExists) {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("make volume %s: %w", where.volume, err)
		}
	}
}
