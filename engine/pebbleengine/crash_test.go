package pebbleengine_test

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/crashtest"
	"github.com/pinetree-db/pinetree/engine/pebbleengine"
)

// crashVariable is the environment variable that, when it is full, asks for a
// stop at every operation, which takes minutes.
const crashVariable = "PINETREE_CRASH"

// disk is an crashtest.Disk in memory that forgets what was not synced. Pebble
// does not end well when its files fail, so they do not: at the operation at
// which the process is to die the disk is copied, and whatever is done to the
// original after that is lost.
type disk struct {
	mu         sync.Mutex
	life       *life
	operations int
	stopAt     int
}

// life is that of one process.
type life struct {
	fs *vfs.MemFS
	// Once it is over: what a kill leaves, and what a power cut does.
	over        bool
	killed, cut *vfs.MemFS
}

func newDisk() crashtest.Disk { return &disk{life: &life{fs: vfs.NewCrashableMem()}} }

// end copies the disk as a kill and as a power cut leave it.
func (l *life) end(seed uint64) {
	l.killed = l.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(seed, 1))})
	// Nothing unsynced is kept: pebble relies on names getting to the disk in
	// order, and this file system would keep any of them.
	l.cut = l.fs.CrashClone(vfs.CrashCloneCfg{})
	l.over = true
}

func (d *disk) Open() (engine.Store, error) {
	d.mu.Lock()
	l := d.life
	d.mu.Unlock()
	step := errorfs.InjectorFunc(func(op errorfs.Op) error {
		d.step(l, op)
		return nil
	})
	return open("engine", errorfs.Wrap(l.fs, step))
}

func open(dir string, fs vfs.FS) (engine.Store, error) {
	return pebbleengine.Open(pebbleengine.Options{
		Dir: dir, FS: fs, MemTableBytes: 256 << 10, CacheBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
	})
}

// step counts an operation that writes.
func (d *disk) step(l *life, op errorfs.Op) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.over || op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFileClose {
		return
	}
	if d.operations++; d.operations == d.stopAt {
		l.end(uint64(d.operations))
	}
}

func (d *disk) Operations() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.operations
}

func (d *disk) StopAt(operation int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopAt = operation
}

func (d *disk) Stopped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.life.over
}

func (d *disk) Crash(powerCut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.life.over {
		d.life.end(uint64(d.operations))
	}
	fs := d.life.killed
	if powerCut {
		fs = d.life.cut
	}
	d.life, d.stopAt = &life{fs: fs}, 0
}

func TestStoppedAnywhere(t *testing.T) {
	every := 41
	if os.Getenv(crashVariable) == "full" {
		every = 1
	}
	crashtest.RunStopped(t, backend, newDisk, every)
}

// TestAFailedSyncOfTheLogStopsTheStore lets one sync fail and all later ones
// succeed, which is when a database that tries again loses what it had
// acknowledged.
func TestAFailedSyncOfTheLogStopsTheStore(t *testing.T) {
	var mu sync.Mutex
	failing := false
	noDisk := errors.New("the disk says no")
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if failing && (op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync) {
			failing = false
			return noDisk
		}
		return nil
	}))
	s, err := open("engine", fs)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(1, pinetree.Position{}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	write := func(index pinetree.RaftIndex) error {
		return e.Apply(engine.Write{Position: pinetree.Position{Index: index, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{}}})
	}
	if err := write(1); err != nil {
		t.Fatal(err)
	}
	if at, err := e.Flush(); err != nil || at.Index != 1 {
		t.Fatalf("flushed %d, %v", at.Index, err)
	}
	if err := write(2); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	failing = true
	mu.Unlock()
	if at, err := e.Flush(); !errors.Is(err, noDisk) || at.Index != 1 {
		t.Fatalf("flushed %d, %v, want 1 and what the disk said", at.Index, err)
	}
	if at, err := e.Flush(); !errors.Is(err, noDisk) || at.Index != 1 || failing {
		t.Fatalf("flushed %d, %v, want 1 and what the disk said", at.Index, err)
	}
	if err := s.Create(2, pinetree.Position{}); !errors.Is(err, noDisk) {
		t.Fatalf("a group is created after the failure: %v", err)
	}
	if err := s.Close(); err == nil {
		t.Log("closed in order")
	}
}
