package crashtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree/engine/enginetest"
)

const (
	// PowerCutVariable is the environment variable that, when it is 1, asks for
	// RunPowerCut. It needs root, loop devices and mkfs.
	PowerCutVariable = "PINETREE_POWER_CUT"

	// shutdownFileSystem is the ioctl EXT4_IOC_SHUTDOWN, and noLogFlush its
	// flag that also forgets the journal in memory: the file system is then
	// what its device holds at that moment.
	shutdownFileSystem = 0x8004587d
	noLogFlush         = 2
)

// RunPowerCut is RunKilled with the power cut instead of the process killed:
// the directory is on an ext4 of its own, which forgets all that was not
// synced. It is skipped unless PowerCutVariable is set.
func RunPowerCut(t *testing.T, b enginetest.Backend, rounds int) {
	if dir := os.Getenv(killedDir); dir != "" {
		applyUntilKilled(t, b, dir)
		return
	}
	disk := NewRealDisk(t)
	runCrashes(t, b, crash{
		dir:   filepath.Join(disk.Dir, "engine"),
		blind: true,
		now: func(child *os.Process) {
			disk.Cut()
			_ = child.Kill()
		},
		after: disk.Restore,
	}, rounds)
}

// RealDisk is an ext4 file system of two gigabytes whose power can be cut.
type RealDisk struct {
	// Dir is where it is mounted.
	Dir    string
	t      *testing.T
	device string
}

// NewRealDisk makes a file system, which goes with the test, or skips the test where
// PowerCutVariable does not ask for one.
func NewRealDisk(t *testing.T) *RealDisk {
	t.Helper()
	if os.Getenv(PowerCutVariable) != "1" {
		t.Skipf("%s=1 runs it; it needs root", PowerCutVariable)
	}
	base := t.TempDir()
	d := &RealDisk{Dir: filepath.Join(base, "mounted"), t: t, device: filepath.Join(base, "device")}
	if err := os.Mkdir(d.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "truncate", "-s", "2G", d.device)
	command(t, "mkfs.ext4", "-q", "-F", d.device)
	command(t, "mount", "-o", "loop", d.device, d.Dir)
	t.Cleanup(func() { unmount(t, d.Dir) })
	return d
}

// Cut ends all writing to the disk: what was not synced is gone.
func (d *RealDisk) Cut() {
	if err := cutPower(d.Dir); err != nil {
		d.t.Errorf("cut the power: %v", err)
	}
}

// Restore mounts the file system again, once all who had files open have ended.
func (d *RealDisk) Restore() {
	unmount(d.t, d.Dir)
	command(d.t, "mount", "-o", "loop", d.device, d.Dir)
}

func cutPower(mounted string) error {
	f, err := os.Open(mounted)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), shutdownFileSystem, noLogFlush)
}

// unmount tries for a while: the kernel may still be taking down the mappings
// of a process that has ended.
func unmount(t *testing.T, mounted string) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Unmount(mounted, 0)
		if err == nil {
			return
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("unmount %s: %v", mounted, err)
		}
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}
