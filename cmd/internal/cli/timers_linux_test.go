package cli

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// beProgram, in the environment, makes the test binary a program with the commands
// serve and ask, which say what they were given.
const beProgram = "PINETREE_TEST_IS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(beProgram) == "" {
		os.Exit(m.Run())
	}
	say := func(c *cobra.Command, args []string) error {
		slack, err := slackOfNewThread()
		fmt.Fprintln(c.OutOrStdout(), slack, os.Getpid(), args, os.Getenv(beProgram))
		return err
	}
	root := &cobra.Command{Use: "program"}
	for _, name := range []string{"serve", "ask"} {
		root.AddCommand(&cobra.Command{Use: name, Args: cobra.ArbitraryArgs, RunE: say})
	}
	os.Exit(Main(root, "serve"))
}

// slackOfNewThread is the slack that the runtime's own threads have too.
func slackOfNewThread() (slack int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		slack, err = unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	}()
	<-done
	return slack, err
}

func TestServersHaveLateTimers(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	server := serverSlack
	if runtime.NumCPU() > fewProcessors {
		server = kernelSlack
	}
	for _, c := range []struct {
		command      string
		before, want int
	}{
		{"serve", kernelSlack, server},
		{"ask", kernelSlack, kernelSlack},
		{"serve", 7_000, 7_000}, // somebody chose it
	} {
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(c.before), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		child := exec.CommandContext(t.Context(), program, c.command, "a b", "--", "-c")
		child.Env = append(os.Environ(), beProgram+"=as it was")
		out, err := child.CombinedOutput()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // as it was before
		runtime.UnlockOSThread()
		if want := fmt.Sprintln(c.want, child.Process.Pid, "[a b -c]", "as it was"); err != nil || string(out) != want {
			t.Errorf("%s from a slack of %d ns: %q, %v, want %q", c.command, c.before, strings.TrimSpace(string(out)), err, want)
		}
	}
}
