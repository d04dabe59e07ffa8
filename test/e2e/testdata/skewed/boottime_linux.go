// Package lease, as programs for tests have it: this file takes the place of the
// one that reads the clock, and lets it run at another rate.
package lease

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// rate is by how much faster than the machine's clock this program's lease clock
// runs. It begins where the machine's is when the program starts.
var rate = func() float64 {
	r, err := strconv.ParseFloat(os.Getenv("PINETREE_TEST_CLOCK_RATE"), 64)
	if err != nil {
		panic("lease: PINETREE_TEST_CLOCK_RATE is to be a rate such as 0.99: " + err.Error())
	}
	return r
}()

var began = read()

func read() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("lease: CLOCK_BOOTTIME cannot be read: " + err.Error())
	}
	return ts.Nano()
}

// BootTime is the skewed clock.
func BootTime() Instant { return Instant(began + int64(float64(read()-began)*rate)) }
