package lease

import "golang.org/x/sys/unix"

// BootTime reads CLOCK_MONOTONIC, which on this system goes on while the
// machine sleeps. It is the only function of the package that is not pure.
func BootTime() Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("lease: CLOCK_MONOTONIC cannot be read: " + err.Error())
	}
	return Instant(ts.Nano())
}
