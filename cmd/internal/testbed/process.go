package testbed

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one that is looked at from outside, by its files in /proc; zero is
// one that has ended.
type Process int

// ticksPerSecond is the unit of the CPU times in /proc, the same on every
// system that Go supports.
const ticksPerSecond = 100

func (p Process) read(file string) ([]byte, error) {
	if p == 0 {
		return nil, errors.New("a process of the cluster has ended")
	}
	return os.ReadFile(filepath.Join("/proc", strconv.Itoa(int(p)), file))
}

// CPU is the user and system time that a process has had.
func (p Process) CPU() (time.Duration, error) {
	text, err := p.read("stat")
	if err != nil {
		return 0, err
	}
	return parseCPU(text)
}

// parseCPU reads /proc/PID/stat. The command's name, in parentheses, may hold
// anything; utime and stime are the 12th and 13th field after it.
func parseCPU(stat []byte) (time.Duration, error) {
	_, after, found := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") "))
	fields := strings.Fields(string(after))
	if !found || len(fields) < 13 {
		return 0, fmt.Errorf("CPU time: %q is not a line of /proc/PID/stat", stat)
	}
	ticks := int64(0)
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / ticksPerSecond), nil
}

// MachineCPU is the time that the machine's processors were busy, for anybody.
func MachineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseBusy(text)
}

// parseBusy reads the first line of /proc/stat: the ticks of user, nice,
// system, idle, iowait, irq, softirq, steal; the guests' are in the first two.
func parseBusy(stat []byte) (time.Duration, error) {
	line, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("CPU time: %q is not the first line of /proc/stat", line)
	}
	ticks := int64(0)
	for i, f := range fields[1:9] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time: %w", err)
		}
		if idle := i == 3 || i == 4; !idle {
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / ticksPerSecond), nil
}

// Resident is how much memory a process has, peak the most that it had.
func (p Process) Resident() (bytes, peak int64, err error) {
	text, err := p.read("status")
	if err != nil {
		return 0, 0, err
	}
	if bytes, err = parseField(text, "VmRSS"); err != nil {
		return 0, 0, err
	}
	peak, err = parseField(text, "VmHWM")
	return bytes, peak, err
}

// parseField reads a "name: value" line of /proc/PID/status; kB become
// bytes.
func parseField(text []byte, name string) (int64, error) {
	for line := range strings.Lines(string(text)) {
		rest, found := strings.CutPrefix(line, name+":")
		if !found {
			continue
		}
		number, kilo := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		n, err := strconv.ParseInt(number, 10, 64)
		if kilo {
			n <<= 10
		}
		return n, err
	}
	return 0, fmt.Errorf("/proc tells no %s", name)
}

// OwnCPU is the user and system time of this process.
func OwnCPU() (time.Duration, error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, fmt.Errorf("CPU time of this process: %w", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
}

// FolderBytes sums up the sizes of the files below a folder. What vanishes
// meanwhile counts nothing, and neither does a folder that is not there.
func FolderBytes(dir string) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				total += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}

// Observable tells whether processes can be looked at from outside here.
func Observable() bool {
	_, err := os.Stat("/proc/self/stat")
	return err == nil
}
