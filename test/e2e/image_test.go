package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// image is a file system of its own in a file, for one node, whose power can be
// cut.
type image struct {
	t             *testing.T
	file, mounted string
	only          string // the one folder of the node that is on it; empty for all of them
}

// The ioctl EXT4_IOC_SHUTDOWN, which is XFS_IOC_GOINGDOWN as well, and its flags:
// the journal in memory is written first, or lost, too. Whatever else is in memory
// is lost: from then on the file system fails every call, until it is mounted anew
// and its journal is replayed.
const (
	shutdownFileSystem = 0x8004587d
	journalWritten     = 1
	journalLost        = 2
)

// newImages makes file systems of a kind and mounts them. Only root can.
func newImages(t *testing.T, count int, kind, size string) []*image {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount file systems of its own")
	}
	for _, tool := range []string{"mkfs." + kind, "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("it needs %s: %v", tool, err)
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("it needs loop devices: %v", err)
	}
	var images []*image
	for range count {
		base := t.TempDir()
		i := &image{t: t, file: filepath.Join(base, "file"), mounted: filepath.Join(base, "mounted")}
		if err := os.Mkdir(i.mounted, 0o700); err != nil {
			t.Fatal(err)
		}
		i.command("truncate", "-s", size, i.file)
		i.command("mkfs."+kind, "-q", i.file)
		if out, err := exec.Command("mount", "-o", "loop", i.file, i.mounted).CombinedOutput(); err != nil {
			t.Skipf("this system mounts no %s: %v\n%s", kind, err, out)
		}
		t.Cleanup(i.unmount)
		images = append(images, i)
	}
	return images
}

// place is where the node's files are, given where they would be without the
// image.
func (i *image) place(dir string) string {
	i.t.Helper()
	inside := filepath.Join(i.mounted, "node")
	if i.only == "" {
		return inside
	}
	err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(inside, 0o700), os.Symlink(inside, filepath.Join(dir, i.only)))
	if err != nil {
		i.t.Fatal(err)
	}
	return dir
}

func (i *image) command(name string, args ...string) {
	i.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		i.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

func (i *image) mount() {
	i.t.Helper()
	i.command("mount", "-o", "loop", i.file, i.mounted)
}

// unmount tries for a while: the kernel may still be taking down what a process
// that has ended had mapped.
func (i *image) unmount() {
	i.t.Helper()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Unmount(i.mounted, 0)
		if err == nil {
			return
		}
		if time.Since(start) > 10*time.Second {
			i.t.Fatalf("unmount %s: %v", i.mounted, err)
		}
	}
}

// cut cuts the power.
func (i *image) cut(journal int) {
	i.t.Helper()
	f, err := os.Open(i.mounted)
	if err != nil {
		i.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdownFileSystem, journal); err != nil {
		i.t.Fatalf("cut the power of %s: %v", i.mounted, err)
	}
}

// freeze makes every write to the file system wait until thaw is called, or a
// minute is over even if the test is not there any more: processes that wait
// cannot be killed.
func (i *image) freeze() (thaw func()) {
	i.t.Helper()
	i.command("fsfreeze", "--freeze", i.mounted)
	watch := exec.Command("sh", "-c", "sleep 60; exec fsfreeze --unfreeze \"$0\"", i.mounted)
	watch.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := watch.Start(); err != nil {
		i.t.Fatal(err)
	}
	frozen := true
	thaw = func() {
		if !frozen {
			return
		}
		frozen = false
		_ = syscall.Kill(-watch.Process.Pid, syscall.SIGKILL)
		_ = watch.Wait() // it was killed
		i.command("fsfreeze", "--unfreeze", i.mounted)
	}
	i.t.Cleanup(thaw)
	return thaw
}

// leave takes the space, but for so many bytes.
func (i *image) leave(bytes uint64) {
	i.t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(i.mounted, &fs); err != nil {
		i.t.Fatal(err)
	}
	free := fs.Bavail * uint64(fs.Bsize)
	if free < bytes {
		i.t.Fatalf("%d bytes are left, and %d were to be", free, bytes)
	}
	i.command("fallocate", "-l", fmt.Sprint(free-bytes), filepath.Join(i.mounted, "ballast"))
}

// fill takes all the space that is left.
func (i *image) fill() {
	i.t.Helper()
	f, err := os.OpenFile(filepath.Join(i.mounted, "ballast"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		i.t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 512; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		i.t.Fatalf("filling the file system ended with %v", err)
	}
}

// free gives back what fill took.
func (i *image) free() {
	i.t.Helper()
	if err := os.Remove(filepath.Join(i.mounted, "ballast")); err != nil {
		i.t.Fatal(err)
	}
}
