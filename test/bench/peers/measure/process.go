package measure

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of processor time in /proc: the kernel shows 100 a second to
// programs on every platform that this module runs on.
const tick = time.Second / 100

// PID is a process of this machine.
type PID int

// Usage is what some processes have used since they began.
type Usage struct {
	CPU     time.Duration // user and system
	PeakRSS int64         // the most memory that a server ever had, bytes
}

// Take reads the usage of the calling process, of which only the processor time
// counts, and of servers.
func Take(servers []PID) (Usage, error) {
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return Usage{}, fmt.Errorf("read the usage of this process: %w", err)
	}
	u := Usage{CPU: time.Duration(self.Utime.Nano() + self.Stime.Nano())}
	for _, pid := range servers {
		if err := u.add(pid); err != nil {
			return Usage{}, fmt.Errorf("read the usage of process %d; did it end?: %w", pid, err)
		}
	}
	return u, nil
}

func (u *Usage) add(pid PID) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	cpu, err := parseStat(string(stat))
	if err != nil {
		return err
	}
	peak, err := peakRSS(pid)
	if err != nil {
		return err
	}
	u.CPU += cpu
	u.PeakRSS = max(u.PeakRSS, peak)
	return nil
}

// parseStat adds user and system time: the 14th and 15th field. The second is
// the command in parentheses and may hold anything, so that counting begins
// after the last parenthesis.
func parseStat(stat string) (time.Duration, error) {
	rest := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(rest) < 13 {
		return 0, fmt.Errorf("no such line is known as that of a process: %q", stat)
	}
	user, err := strconv.ParseInt(rest[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(rest[12], 10, 64)
	return time.Duration(user+system) * tick, err
}

// peakRSS reads the largest resident size, in bytes.
func peakRSS(pid PID) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("its status has no line VmHWM")
}
