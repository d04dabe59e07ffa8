package segment

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

// spare is a file that is ready to become a segment. What is in it means
// nothing: no frame in it is bound to the number it will have.
type spare struct {
	name   string
	file   File
	filled int64
}

const (
	// maxSpares bounds the files that are kept to be used again.
	maxSpares = 4
	// fillBytes is how much of a new spare is filled between two syncs: little,
	// so that a Save meanwhile does not wait for it.
	fillBytes = 256 << 10
)

// keeper does beside the log writer what need not be done before a Save
// returns: it notes that a segment has ended, makes dropped segments into
// spares or deletes them, and fills a new spare when there is none.
//
// Everything below mu is changed with mu held. The goroutine is the store's,
// which ends it in Close.
type keeper struct {
	fs           FS
	segmentBytes int64
	log          *slog.Logger
	// inline does everything at once in the caller's goroutine, so that tests
	// can repeat what they did.
	inline bool
	wake   chan struct{}
	done   chan struct{}

	mu     sync.Mutex
	chores []chore // at most two of each segment
	next   uint64  // the segment that a new spare is for; zero for none
	spares []*spare
	taken  int
	tight  bool // the disk is nearly full: spares are used up, and none is made
	busy   bool // something is being done
	failed error
	closed bool
}

// chore is one segment's end, or its being dropped.
type chore struct {
	ended, dropped *segmentFile
}

func newKeeper(fs FS, o Options, spares []*spare) *keeper {
	k := &keeper{
		fs: fs, spares: spares, segmentBytes: o.SegmentBytes, log: o.Logger, inline: o.inline, wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if o.inline {
		close(k.done)
	} else {
		go k.run()
	}
	return k
}

// run works until the store is closed.
func (k *keeper) run() {
	defer close(k.done)
	for range k.wake {
		for k.step() {
		}
		if k.stopped() {
			return
		}
	}
}

func (k *keeper) stopped() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closed
}

// put queues a chore.
func (k *keeper) put(c chore) {
	k.mu.Lock()
	k.chores = append(k.chores, c)
	k.mu.Unlock()
	k.rouse()
}

// want asks for a spare, to become that segment, if there is none.
func (k *keeper) want(segment uint64) {
	k.mu.Lock()
	if len(k.spares) == 0 && !k.tight {
		k.next = segment
	}
	k.mu.Unlock()
	k.rouse()
}

func (k *keeper) rouse() {
	if k.inline {
		for k.step() {
		}
		return
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// take gives a spare away, or nil.
func (k *keeper) take() *spare {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.spares) == 0 {
		return nil
	}
	s := k.spares[len(k.spares)-1]
	k.spares = k.spares[:len(k.spares)-1]
	k.taken++
	return s
}

// counts are those of spares, and of spares that were taken.
func (k *keeper) counts() (spares, taken int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.spares), k.taken
}

// add keeps a spare. It tells whether there was room.
func (k *keeper) add(s *spare) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.spares) == maxSpares || k.closed {
		return false
	}
	k.spares = append(k.spares, s)
	return true
}

// err is why the store must not go on, or nil.
func (k *keeper) err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// wanting tells whether a new spare is still worth filling: a segment that is
// dropped meanwhile makes a better one.
func (k *keeper) wanting() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	dropped := slices.ContainsFunc(k.chores, func(c chore) bool { return c.dropped != nil })
	return !k.closed && !k.tight && !dropped && len(k.spares) == 0
}

// step does one thing, if there is one to do.
func (k *keeper) step() bool {
	k.mu.Lock()
	if k.failed != nil || len(k.chores) == 0 && (k.next == 0 || k.closed) {
		k.mu.Unlock()
		return false
	}
	k.busy = true
	if len(k.chores) == 0 {
		next := k.next
		k.mu.Unlock()
		k.prepare(next)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.next, k.busy = 0, false
		return true
	}
	c := k.chores[0]
	k.mu.Unlock()
	var err error
	if c.ended != nil {
		err = noteEnd(c.ended)
	} else {
		err = k.drop(c.dropped)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed, k.busy = err, false
	k.chores = append(k.chores[:0], k.chores[1:]...)
	return err == nil
}

// noteEnd writes down, durably, that a segment follows on this one: should
// the name of that one be lost, recovery will miss it.
func noteEnd(f *segmentFile) error {
	if err := f.note(frame.End); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", frame.FileName(f.number), err)
	}
	return nil
}

// drop gives a segment's name up, durably, and keeps its file as a spare if
// nobody reads it and there is room. It must not be written to before its name
// is surely gone.
func (k *keeper) drop(f *segmentFile) error {
	name := frame.FileName(f.number)
	s := &spare{name: name + spareSuffix, file: f.file, filled: f.filled}
	if !k.room() || f.filled > 2*k.segmentBytes || !f.users.CompareAndSwap(1, 0) {
		// Its readers have it open and go on.
		closing := f.release()
		if err := k.fs.Remove(name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		if err := k.fs.SyncDir(); err != nil {
			return fmt.Errorf("sync the directory after removing %s: %w", name, err)
		}
		k.log.Debug("raft log segment deleted", "segment", name)
		return closing
	}
	err := k.fs.Rename(name, s.name)
	if err == nil {
		err = k.fs.SyncDir()
	}
	if err != nil {
		return fmt.Errorf("rename %s: %w", name, errors.Join(err, s.file.Close()))
	}
	k.log.Debug("raft log segment kept to be used again", "segment", name)
	if !k.add(s) {
		return s.file.Close()
	}
	return nil
}

func (k *keeper) room() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.spares) < maxSpares && !k.tight
}

// setTight tells whether the disk is nearly full.
func (k *keeper) setTight(tight bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tight = tight
}

// spareBytes is what can be written without asking for more space.
func (k *keeper) spareBytes() (bytes uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.spares {
		bytes += uint64(s.filled)
	}
	return bytes
}

// prepare makes a new spare, filled with zeroes. It may fail, for want of
// space say: then the next segment is made without.
func (k *keeper) prepare(segment uint64) {
	// What a dropped segment is renamed to is never called so.
	s := &spare{name: "fresh-" + frame.FileName(segment) + spareSuffix}
	err := k.fillSpare(s)
	if err == nil && s.filled >= k.segmentBytes && k.add(s) {
		return
	}
	if err != nil {
		k.log.Warn("no file could be made ready for the next raft log segment; it will be made without", "file", s.name, "error", err)
	}
	if s.file != nil {
		// It is of no use; what remains of it is removed when the store opens.
		_ = s.file.Close()
		_ = k.fs.Remove(s.name)
	}
}

func (k *keeper) fillSpare(s *spare) (err error) {
	if s.file, err = k.fs.Create(s.name); err != nil {
		return err
	}
	for s.filled < k.segmentBytes && k.wanting() {
		n := min(fillBytes, k.segmentBytes-s.filled)
		if err := s.file.WriteParts([][]byte{frame.Zeroes[:n]}, s.filled); err != nil {
			return err
		}
		if err := s.file.Sync(); err != nil {
			return err
		}
		s.filled += n
	}
	return nil
}

// close ends the goroutine, after the chores, and closes the spares.
func (k *keeper) close() error {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.rouse()
	<-k.done
	var first error
	for _, s := range k.spares {
		if err := s.file.Close(); err != nil && first == nil {
			first = err
		}
	}
	for _, c := range k.chores {
		if c.dropped == nil {
			continue
		}
		if err := c.dropped.release(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
