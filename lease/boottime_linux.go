package lease

import "golang.org/x/sys/unix"

// BootTime reads CLOCK_BOOTTIME, which goes on while the machine is suspended:
// CLOCK_MONOTONIC would stand still and a lease would outlive its time. It is
// the only function of the package that is not pure. It panics when the kernel
// has no such clock, which no Linux since 2.6.39 does.
func BootTime() Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("lease: CLOCK_BOOTTIME cannot be read: " + err.Error())
	}
	return Instant(ts.Nano())
}
