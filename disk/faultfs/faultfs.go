// Package faultfs is a disk in memory that forgets what was not synced, tears
// writes and fails on demand, for tests and the simulation of the stores that
// write their own files. It knows what POSIX file systems leave after a kill and
// after a power cut; it knows nothing of what is in the files. Given the same
// calls and seeds it does the same.
package faultfs

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"github.com/pinetree-db/pinetree/disk"
)

// ErrStopped is what every operation returns after the one at which the
// process was stopped, until Crash.
var ErrStopped = errors.New("faultfs: the process was stopped")

// SectorBytes is what the disk writes as a whole or not at all.
const SectorBytes = 512

// Disk is one directory on a disk. Operations are counted from 1: every call
// of FS and File but Close.
type Disk struct {
	mu         sync.Mutex
	names      map[string]*inode // what processes see
	durable    map[string]*inode // what a power cut leaves for certain
	unsynced   []nameChange      // what lies between the two, in order
	operations int
	faults     map[int]Fault
	stopped    bool
	life       int // counts crashes: handles of an earlier life are dead
	open       bool
}

// Fault is what happens at an operation.
type Fault int

// The faults of an operation.
const (
	// Stop is the death of the process during the operation: it may have been
	// done, or not, or, if it is a write, in part.
	Stop Fault = iota + 1
	// Fail is an I/O error. A write may have been done in part. After a failed
	// sync the contents are seen but never become durable, as on Linux.
	Fail
)

// Crash says how a life of the process ends.
type Crash struct {
	// PowerCut loses what was not synced, or parts of it, by Seed. Without it
	// only the process dies, and everything written is there.
	PowerCut bool
	Seed     uint64
}

// nameChange is a creation (no from), a removal (no to) or a renaming.
type nameChange struct {
	from, to string
	file     *inode
}

func (c nameChange) apply(names map[string]*inode) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.file
	}
}

// New makes an empty disk.
func New() *Disk {
	return &Disk{names: map[string]*inode{}, durable: map[string]*inode{}, faults: map[int]Fault{}}
}

// Open gives the directory to a store. It may be called again after Close of
// what it returned, or after Crash.
func (d *Disk) Open() (disk.FS, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open {
		return nil, errors.New("faultfs: the directory is open")
	}
	d.open = true
	return &handle{disk: d, life: d.life}, nil
}

// Operations is how many there have been.
func (d *Disk) Operations() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.operations
}

// Inject lets a fault happen at the operation of that number.
func (d *Disk) Inject(operation int, f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults[operation] = f
}

// Crash ends the life of the process that has the directory open, and all
// faults that were injected. The disk is then what the next process finds.
func (d *Disk) Crash(c Crash) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life++
	d.open, d.stopped = false, false
	clear(d.faults)
	if !c.PowerCut {
		return
	}
	random := rand.New(rand.NewPCG(c.Seed, 1))
	// Journals keep name changes in order; not all file systems have one.
	ordered, kept := random.IntN(2) == 0, random.IntN(len(d.unsynced)+1)
	for i, change := range d.unsynced {
		if ordered && i < kept || !ordered && random.IntN(2) == 0 {
			change.apply(d.durable)
		}
	}
	d.names, d.unsynced = maps.Clone(d.durable), nil
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		d.names[name].cut(random)
	}
}

// Clone copies the disk, as if its process had just been killed.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	copies := map[*inode]*inode{}
	clone := func(n *inode) *inode {
		if copies[n] == nil {
			copies[n] = n.clone()
		}
		return copies[n]
	}
	c := New()
	c.operations = d.operations
	for name, n := range d.names {
		c.names[name] = clone(n)
	}
	for name, n := range d.durable {
		c.durable[name] = clone(n)
	}
	for _, change := range d.unsynced {
		change.file = clone(change.file)
		c.unsynced = append(c.unsynced, change)
	}
	return c
}

// FlipBit flips one bit of all the files' contents, in the order of their
// names, and tells in which file; "" when there is no such bit.
func (d *Disk) FlipBit(bit int) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		n := d.names[name]
		if bit < 8*len(n.data) {
			n.data[bit/8] ^= 1 << (bit % 8)
			return name
		}
		bit -= 8 * len(n.data)
	}
	return ""
}

// Files copies the contents of all files, as processes see them.
func (d *Disk) Files() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := map[string][]byte{}
	for name, n := range d.names {
		files[name] = slices.Clone(n.data)
	}
	return files
}

// step counts an operation of a handle of that life and tells what becomes of
// it: whether it is done, and the error that it returns.
func (d *Disk) step(life int) (done bool, err error) {
	if d.stopped || life != d.life {
		return false, ErrStopped
	}
	d.operations++
	switch d.faults[d.operations] {
	case Stop:
		d.stopped = true
		return d.chance(), ErrStopped
	case Fail:
		return false, fmt.Errorf("faultfs: operation %d: %w", d.operations, syscall.EIO)
	}
	return true, nil
}

// chance is a coin, the same at every run for one operation.
func (d *Disk) chance() bool { return d.random().IntN(2) == 0 }

func (d *Disk) random() *rand.Rand { return rand.New(rand.NewPCG(uint64(d.operations), 2)) }
