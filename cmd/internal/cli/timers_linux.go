package cli

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// kernelSlack is what Linux gives a process of whom nobody says otherwise.
	kernelSlack = 50_000
	// serverSlack is how late a server's timers may be, in nanoseconds.
	serverSlack = 1_000_000
	// fewProcessors is up to how many a server has them late. It was measured with
	// two; where there are many, one that wakes up for nothing is in nobody's way.
	fewProcessors = 4
)

// beLate lets the kernel be up to a millisecond late with this process's timers,
// on a machine with few processors.
//
// Go's monitor thread (sysmon in runtime/proc.go) means to sleep for 20 µs at a
// time while anything runs, and takes the processor away from whoever is in a
// system call meanwhile, to give it to another thread. A server that syncs a
// thousand times a second has that in every commit: the wake-ups, and the threads
// that are woken to find nothing. See DECISIONS.md, "Servers have late timers".
//
// Slack is each thread's own, and the monitor is there before main: so the
// process executes its program once more, which keeps the slack (prctl(2)), the
// process id, the environment and what was inherited. A slack that somebody chose,
// with systemd's TimerSlackNSec= say, stays. Where any of this is refused the
// server runs as it is.
func beLate() {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || slack != kernelSlack || runtime.NumCPU() > fewProcessors {
		return
	}
	program, err := os.Executable()
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, serverSlack, 0, 0, 0) != nil {
		return
	}
	_ = syscall.Exec(program, os.Args, os.Environ())
}
