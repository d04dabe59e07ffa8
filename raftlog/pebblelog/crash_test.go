package pebblelog_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/pebblelog"
	"github.com/pinetree-db/pinetree/raftlog/raftlogtest"
)

// disk is a file system in memory that forgets what was not synced. Pebble
// does not end well when its files fail, so they do not: at the operation at
// which the process is to die the disk is copied, and whatever is done to the
// original after that is lost.
type disk struct {
	mu         sync.Mutex
	fs         *vfs.MemFS
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
	store       raftlog.Store
}

func newDisk() *disk { return diskOn(vfs.NewCrashableMem()) }

func diskOn(fs *vfs.MemFS) *disk { return &disk{fs: fs, life: &life{fs: fs}} }

var errStopped = errors.New("the process was stopped")

// end copies the disk as a kill and as a power cut leave it.
func (l *life) end(seed uint64) {
	l.killed = l.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(seed, 1))})
	// Nothing unsynced is kept: pebble relies on names getting to the disk in
	// order, and this file system would keep any of them.
	l.cut = l.fs.CrashClone(vfs.CrashCloneCfg{})
	l.over = true
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

func (d *disk) over(l *life) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.over {
		return errStopped
	}
	return nil
}

// Open implements raftlogtest.Disk.
func (d *disk) Open() (raftlog.Store, error) {
	d.mu.Lock()
	l := d.life
	d.mu.Unlock()
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		d.step(l, op)
		return nil
	})
	s, err := pebblelog.Open("log", pebblelog.Options{FS: errorfs.Wrap(l.fs, inject)})
	if err != nil {
		return nil, err
	}
	l.store = s
	return mortal{s, d, l}, d.over(l)
}

// mortal is a store of a process that may be stopped.
type mortal struct {
	raftlog.Store
	disk *disk
	life *life
}

func (m mortal) do(call error) error { return errors.Join(call, m.disk.over(m.life)) }

func (m mortal) Save(updates []raftlog.Update) error { return m.do(m.Store.Save(updates)) }

func (m mortal) Compact(group pinetree.GroupID, index pinetree.RaftIndex) error {
	return m.do(m.Store.Compact(group, index))
}

func (m mortal) Remove(group pinetree.GroupID) error { return m.do(m.Store.Remove(group)) }

func (m mortal) Probe() error { return m.do(m.Store.Probe()) }

// Operations implements raftlogtest.Disk.
func (d *disk) Operations() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.operations
}

// Inject implements raftlogtest.Disk, but for failing operations.
func (d *disk) Inject(operation int, _ raftlogtest.Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopAt = operation
}

// Crash implements raftlogtest.Disk.
func (d *disk) Crash(c raftlogtest.Crash) {
	d.mu.Lock()
	if !d.life.over {
		d.life.end(c.Seed)
	}
	old := d.life
	d.fs, d.stopAt = old.killed, 0
	if c.PowerCut {
		d.fs = old.cut
	}
	d.life = &life{fs: d.fs}
	d.mu.Unlock()
	if old.store != nil {
		old.store.Close()
	}
}

// FlipBit implements raftlogtest.Disk. Nothing is flipped here.
func (d *disk) FlipBit(int) bool { return false }

// Clone implements raftlogtest.Disk.
func (d *disk) Clone() raftlogtest.Disk {
	return diskOn(d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}))
}

// TestCrash leaves out what pebble does not promise: a flipped bit at the end
// of its log is taken for a torn write, and an I/O error of its manifest ends
// the process.
func TestCrash(t *testing.T) {
	raftlogtest.RunCrash(t, func(*testing.T) raftlogtest.Disk { return newDisk() },
		"EveryByteFlipped", "EveryByteFlippedWhileOpen", "EveryOperationFails")
}
