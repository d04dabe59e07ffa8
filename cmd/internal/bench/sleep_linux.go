package bench

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// preciseSleep makes sleep exact to a few microseconds for this goroutine,
// until the returned function is called: the runtime's own timers may be a
// millisecond late in a process that has little to do.
func preciseSleep() (end func()) {
	runtime.LockOSThread()
	// Without it the thread sleeps 50 µs longer, which is no harm.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return runtime.UnlockOSThread
}

// sleep may return early, when a signal comes.
func sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	t := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&t, nil)
}
