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
	if os.Getenv(PowerCutVariable) != "1" {
		t.Skipf("%s=1 runs it; it needs root", PowerCutVariable)
	}
	base := t.TempDir()
	device, mounted := filepath.Join(base, "device"), filepath.Join(base, "mounted")
	if err := os.Mkdir(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "truncate", "-s", "2G", device)
	command(t, "mkfs.ext4", "-q", "-F", device)
	command(t, "mount", "-o", "loop", device, mounted)
	t.Cleanup(func() { unmount(t, mounted) })
	dir := filepath.Join(mounted, "engine")
	runCrashes(t, b, crash{
		dir:   dir,
		blind: true,
		now: func(child *os.Process) {
			if err := cutPower(mounted); err != nil {
				t.Errorf("cut the power: %v", err)
			}
			_ = child.Kill()
		},
		after: func() {
			unmount(t, mounted)
			command(t, "mount", "-o", "loop", device, mounted)
		},
	}, rounds)
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
