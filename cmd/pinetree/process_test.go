package main

import (
	"bufio"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startDev starts `pinetree dev` as a process and returns it with the addresses
// that it printed.
func startDev(t *testing.T) (*exec.Cmd, []string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dev := exec.Command(binary, "dev", "--nodes", "2", "--listen", addr, "--dir", filepath.Join(t.TempDir(), "dev"))
	dev.Stderr = os.Stderr
	out, err := dev.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = dev.Process.Kill() // it may have ended
		_ = dev.Wait()
	})
	var addresses []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ctrl-C ends it") {
			return dev, addresses
		}
		if f := strings.Fields(lines.Text()); len(f) >= 4 && f[2] == "log" {
			addresses = append(addresses, f[1])
		}
	}
	t.Fatal("dev ended before it was up")
	return nil, nil
}

// refused waits until nobody listens at any of the addresses.
func refused(t *testing.T, addresses []string) {
	t.Helper()
	deadline := time.Now().Add(8 * time.Second)
	for _, addr := range addresses {
		for {
			conn, err := net.DialTimeout("tcp", addr, time.Second)
			if errors.Is(err, syscall.ECONNREFUSED) {
				break
			}
			if err == nil {
				conn.Close()
			}
			if time.Now().After(deadline) {
				t.Fatalf("somebody still listens at %s", addr)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func TestInterruptEndsEverythingThatWasStarted(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"Ctrl-C": syscall.SIGINT, "kill -9": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dev, addresses := startDev(t)
			if len(addresses) != 3 {
				t.Fatalf("addresses %v, want a manager's and two nodes'", addresses)
			}
			if err := dev.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			err := dev.Wait()
			if signal == syscall.SIGINT && err != nil {
				t.Errorf("after Ctrl-C: %v", err)
			}
			refused(t, addresses)
		})
	}
}
