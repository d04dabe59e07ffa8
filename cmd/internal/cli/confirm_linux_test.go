package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// terminal opens both ends of a terminal: the person's and the program's.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there are no terminals here: ", err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// asking runs a command that destroys, and returns how it ended.
func asking(ctx context.Context, in *os.File, args ...string) (code int, said string, destroyed bool) {
	var c Confirmation
	cmd := &cobra.Command{Use: "delete", RunE: func(cmd *cobra.Command, _ []string) error {
		if err := c.Ask(cmd, Loss{What: "Volume pg is removed for good.", Name: "pg"}); err != nil {
			return err
		}
		destroyed = true
		return nil
	}}
	c.Flag(cmd)
	var errs bytes.Buffer
	cmd.SetIn(in)
	cmd.SetErr(&errs)
	cmd.SetArgs(append([]string{}, args...)) // nil would be those of the tests
	return Execute(ctx, cmd), errs.String(), destroyed
}

func TestWhatDestroysHasTheNameTyped(t *testing.T) {
	for typed, want := range map[string]int{"pg\n": ExitDone, "  pg \n": ExitDone, "yes\n": ExitFailed, "\n": ExitFailed, "\x04": ExitFailed} {
		person, program := terminal(t)
		if _, err := person.WriteString(typed); err != nil {
			t.Fatal(err)
		}
		code, said, destroyed := asking(t.Context(), program)
		if code != want || destroyed != (want == ExitDone) || !strings.Contains(said, "Volume pg is removed for good.\nType pg to go on: ") {
			t.Errorf("%q typed: exit code %d, destroyed: %v, %s", typed, code, destroyed, said)
		}
	}
}

func TestWhatDestroysCanBeInterruptedWhileItAsks(t *testing.T) {
	_, program := terminal(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if code, said, destroyed := asking(ctx, program); code != ExitFailed || destroyed || !strings.Contains(said, "nothing was done") {
		t.Errorf("interrupted: exit code %d, destroyed: %v, %s", code, destroyed, said)
	}
}

func TestWhatDestroysWantsYesWithoutATerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if code, said, destroyed := asking(t.Context(), null); code != ExitUsage || destroyed || !strings.Contains(said, "--yes") {
		t.Errorf("without a terminal: exit code %d, destroyed: %v, %s", code, destroyed, said)
	}
	if code, _, destroyed := asking(t.Context(), null, "--yes"); code != ExitDone || !destroyed {
		t.Errorf("with --yes: exit code %d, destroyed: %v", code, destroyed)
	}
}

func TestOnATerminalListingsAndWaitsAreWrittenOver(t *testing.T) {
	person, program := terminal(t)
	cmd := &cobra.Command{}
	cmd.SetOut(program)
	cmd.SetErr(program)
	teller := NewTeller(cmd)
	teller.Tell("2 groups still led")
	teller.Tell("2 groups still led")
	teller.Tell("1 group still led")
	teller.Done()
	w, o := Watching{every: time.Second}, Output{"table"}
	if err := w.print(program, &o, Listing{Columns: []string{"node"}, Rows: [][]any{{7}}}, "clustermgr node ls"); err != nil {
		t.Fatal(err)
	}
	// What is written in several parts may arrive in several.
	const end = "end of the terminal"
	fmt.Fprint(program, end)
	var shown []byte
	for part := make([]byte, 4096); !bytes.Contains(shown, []byte(end)); {
		n, err := person.Read(part)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, part[:n]...)
	}
	want := []string{"\r\x1b[K2 groups still led\r\x1b[K1 group still led\r\n", clearScreen + "clustermgr node ls  every 1s"}
	for _, part := range want {
		if !strings.Contains(string(shown), part) {
			t.Errorf("the terminal is sent %q without %q", shown, part)
		}
	}
}
