package crash

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk"
	"github.com/pinetree-db/pinetree/disk/faultfs"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/engine/walengine"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/segment"
)

// machine is a node: two directories, and the life of the process that has them
// open. Restarts belong to the goroutine that manages the cluster.
type machine struct {
	c                   *cluster
	id                  pinetree.NodeID
	logDisk, engineDisk *faultfs.Disk
	memory              *memengine.Store // nil when the engine is on engineDisk
	log                 raftlog.Store
	engines             engine.Store

	// Below the grid's lock.
	host   *host.Host // nil while it is down
	life   int
	dead   bool     // the process has ended and was not started again
	calls  []string // that change files, in all lives
	failed *failure
	torn   error     // what the write that is struck returns
	due    time.Time // when it is to be started again
}

// failure is the call that was made to fail.
type failure struct {
	name string // of the file
	log  bool   // it is the raft log's
	sync bool
	told time.Time
	end  pinetree.LSN // what was acknowledged then
}

// grid is the lock over all disks: a power failure ends several machines at one
// moment, between two calls or in the middle of one.
type grid struct {
	sync.Mutex
	strikes []strike // those to come
	struck  []string // those that were
}

func newMachine(c *cluster, id pinetree.NodeID) *machine {
	m := &machine{c: c, id: id, logDisk: faultfs.New(), engineDisk: faultfs.New(), dead: true}
	if c.plan.engine == memory {
		m.memory = memengine.New(memengine.Options{})
	}
	return m
}

// open opens the stores and starts the host. It fails when the process ends
// meanwhile.
func (m *machine) open() (err error) {
	m.c.grid.Lock()
	life := m.life
	m.c.grid.Unlock()
	fs, err := m.logDisk.Open()
	if err != nil {
		return err
	}
	m.log, err = segment.OpenFS(&directory{FS: fs, m: m, on: m.logDisk, life: life}, segment.Options{SegmentBytes: 4 << 10, CacheBytes: 1 << 10})
	if err != nil {
		return fmt.Errorf("open the raft log: %w", err)
	}
	if m.memory != nil {
		m.engines = m.memory
	} else {
		if fs, err = m.engineDisk.Open(); err != nil {
			return err
		}
		m.engines, err = walengine.OpenFS(&directory{FS: fs, m: m, on: m.engineDisk, life: life}, walengine.Options{FileBytes: 4 << 10, MaxOpenFiles: 4})
		if err != nil {
			return errors.Join(fmt.Errorf("open the engine: %w", err), m.log.Close())
		}
	}
	var h *host.Host
	if err = m.checkNotes(); err == nil {
		h, err = host.NewHost(m.c.config(m))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start the host: %w", err), m.engines.Close(), m.log.Close())
	}
	m.c.grid.Lock()
	m.host = h
	m.c.grid.Unlock()
	return nil
}

// shut ends the goroutines of a process that has died. What they want to do to
// the disk comes too late.
func (m *machine) shut() {
	m.c.grid.Lock()
	h := m.host
	m.host = nil
	m.c.grid.Unlock()
	if h == nil {
		return
	}
	// All of these fail where they come to the disk.
	_, _, _ = h.Close(), m.engines.Close(), m.log.Close()
}

// die ends the process. The grid's lock is held.
func (m *machine) die(after time.Duration) {
	if m.dead {
		return
	}
	m.dead, m.failed = true, nil
	m.due = time.Now().Add(after)
	if m.memory != nil {
		_ = m.memory.Close() // never fails
	}
}

// revive starts the process again on what the crash has left. It may die at once
// again; that it refuses to start without a new fault is what must never be.
func (m *machine) revive(crash faultfs.Crash) {
	m.shut()
	m.c.grid.Lock()
	m.life++
	m.dead, m.failed = false, nil
	m.logDisk.Crash(crash)
	crash.Seed++
	m.engineDisk.Crash(crash)
	if m.memory != nil {
		m.memory.Crash()
	}
	m.c.grid.Unlock()
	err := m.open()
	m.c.grid.Lock()
	defer m.c.grid.Unlock()
	if err == nil || m.dead {
		return
	}
	if m.failed == nil {
		m.c.t.Errorf("%s: node %d does not start after a crash: %v", m.c.plan, m.id, err)
		m.c.cancel()
	}
	m.die(10 * time.Millisecond)
}

// running is the host of a process that lives; nil otherwise.
func (m *machine) running() *host.Host {
	m.c.grid.Lock()
	defer m.c.grid.Unlock()
	if m.dead {
		return nil
	}
	return m.host
}

// change makes a call that changes what a power cut leaves, or what a strike
// makes of it.
func (d *directory) change(what, name string, call func() error) error {
	g := &d.m.c.grid
	g.Lock()
	defer g.Unlock()
	if d.m.dead || d.m.life != d.life {
		return faultfs.ErrStopped
	}
	d.m.calls = append(d.m.calls, what)
	if len(g.strikes) > 0 && g.strikes[0].victim == d.m.id && len(d.m.calls) == g.strikes[0].at {
		defer d.strike(what, name)()
	}
	return call()
}

// strike lets the call that follows fail, or the process die in it. It
// returns what is to be done after the call.
func (d *directory) strike(what, name string) func() {
	m, g := d.m, &d.m.c.grid
	s := g.strikes[0]
	g.strikes = g.strikes[1:]
	g.struck = append(g.struck, what)
	fault, cause := faultfs.Stop, faultfs.ErrStopped
	if s.kind == failing {
		fault, cause = faultfs.Fail, syscall.EIO
	}
	if what == "write" {
		m.torn = cause
	} else {
		d.on.Inject(d.on.Operations()+1, fault)
	}
	if s.kind == failing {
		m.failed = &failure{name: name, log: d.on == m.logDisk, sync: what == "sync", told: time.Now(), end: m.c.acked()}
		return func() {}
	}
	return func() {
		if len(g.strikes) > 0 {
			g.strikes[0].at += len(m.calls)
		}
		for _, other := range m.c.machines {
			if other == m || s.kind == blackout {
				other.die(s.away)
			}
		}
	}
}

// directory is a machine's disk as its present process has it.
type directory struct {
	disk.FS
	m    *machine
	on   *faultfs.Disk
	life int
}

func (d *directory) Create(name string) (f disk.File, err error) {
	err = d.change("create", name, func() error {
		f, err = d.FS.Create(name)
		return err
	})
	return &file{File: f, d: d, name: name}, err
}

func (d *directory) Open(name string) (disk.File, error) {
	f, err := d.FS.Open(name)
	return &file{File: f, d: d, name: name}, err
}

func (d *directory) Rename(from, to string) error {
	return d.change("rename", from, func() error { return d.FS.Rename(from, to) })
}

func (d *directory) Remove(name string) error {
	return d.change("remove", name, func() error { return d.FS.Remove(name) })
}

func (d *directory) SyncDir() error { return d.change("sync", "the directory", d.FS.SyncDir) }

// file is an open file of a machine.
type file struct {
	disk.File
	d      *directory
	name   string
	broken string // the call that has failed
}

// touch is change for what is in the file. A sync that has failed is not tried
// again: the system may have forgotten what it could not write. Nor does anybody
// go on writing to a file behind a write or a sync that failed.
func (f *file) touch(what string, call func() error) error {
	return f.d.change(what, f.name, func() error {
		again := f.broken != "" && what == f.broken
		if again || f.broken == "sync" {
			f.d.m.c.t.Errorf("%s: node %d: %s of %s after a %s of it has failed", f.d.m.c.plan, f.d.m.id, what, f.name, f.broken)
		}
		err := call()
		if err != nil {
			f.broken = what
		}
		return err
	})
}

// WriteParts writes. What is interrupted ends where a sector does, or is done: a
// system copies whole pages before it looks whether the process was killed.
func (f *file) WriteParts(parts [][]byte, offset int64) error {
	return f.touch("write", func() error {
		cause := f.d.m.torn
		if cause == nil {
			return f.File.WriteParts(parts, offset)
		}
		f.d.m.torn = nil
		data := slices.Concat(parts...)
		sectors := (offset+int64(len(data)))/faultfs.SectorBytes - offset/faultfs.SectorBytes
		if kept := int64(len(f.d.m.calls)) % (sectors + 2); kept <= sectors {
			end := (offset/faultfs.SectorBytes + kept) * faultfs.SectorBytes
			data = data[:max(0, end-offset)]
		}
		return errors.Join(f.File.WriteParts([][]byte{data}, offset), cause)
	})
}

func (f *file) Sync() error { return f.touch("sync", f.File.Sync) }

// logger prints what the nodes say when a single strike is looked into.
func logger(t *testing.T) *slog.Logger {
	if os.Getenv(strikeVariable) == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
