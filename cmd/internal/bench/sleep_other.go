//go:build !linux

package bench

import "time"

// preciseSleep has nothing to do here: sleep is as exact as the runtime's
// timers.
func preciseSleep() (end func()) { return func() {} }

func sleep(d time.Duration) { time.Sleep(d) }
