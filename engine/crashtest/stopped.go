package crashtest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/enginetest"
)

// Disk is a disk whose process can be stopped at any of its operations that
// write.
type Disk interface {
	// Open opens the store that is on the disk, for the life that has begun.
	Open() (engine.Store, error)
	// Operations counts those that wrote, of all lives.
	Operations() int
	// StopAt ends the life at hand at an operation. What is done to the disk
	// from then on is lost.
	StopAt(operation int)
	// Stopped tells whether the life at hand is over.
	Stopped() bool
	// Crash ends the life at hand, if it is not over, and begins the next one
	// with what a kill has left, or a power cut.
	Crash(powerCut bool)
}

// storyLength is the raft index up to which a story goes.
const storyLength = 40

// RunStopped stops a process at each of its operations that write, or at one in
// every few, while it creates groups, applies, flushes, takes snapshots, restores
// them and removes a group; by a kill and by a power cut, then again while it
// recovers. What is left is the state of a whole write, not below what was
// called durable, and goes on.
func RunStopped(t *testing.T, b enginetest.Backend, newDisk func() Disk, every int) {
	next := b.Writes(t, 31)
	var writes []engine.Write
	for len(writes) < storyLength {
		writes = append(writes, next())
	}
	whole := newStory(t, newDisk(), writes)
	err := errors.Join(whole.run(), whole.store.Close())
	if err != nil {
		t.Fatal(err)
	}
	operations := whole.disk.Operations()
	for operation := 1; operation <= operations; operation += every {
		for mode := range 4 {
			powerCut, again := mode%2 == 1, mode > 1
			s := newStory(t, newDisk(), writes)
			s.disk.StopAt(operation)
			err := s.run()
			if err != nil && !errors.Is(err, errStopped) {
				t.Fatalf("operation %d: %v", operation, err)
			}
			s.crash(powerCut)
			if again {
				s.disk.StopAt(s.disk.Operations() + 1 + operation%50)
				if err := s.check(); err != nil && !errors.Is(err, errStopped) {
					t.Fatalf("operation %d, mode %d, while recovering: %v", operation, mode, err)
				}
				s.crash(true)
			}
			if err := errors.Join(s.check(), s.store.Close()); err != nil {
				t.Fatalf("operation %d, mode %d: %v", operation, mode, err)
			}
		}
	}
	t.Logf("%d operations", operations)
}

var errStopped = errors.New("the process was stopped")

// story is one life of a store after another on one disk, and what must be left
// of them.
type story struct {
	t      *testing.T
	disk   Disk
	writes []engine.Write

	store engine.Store // of the life at hand
	// One of the indexes from sure to tried is what a group is at; none, when
	// sure is negative, may be what is left, and when tried is, too, must be.
	sure, tried [4]int
}

func newStory(t *testing.T, disk Disk, writes []engine.Write) *story {
	return &story{t: t, disk: disk, writes: writes, sure: [4]int{-1, -1, -1, -1}, tried: [4]int{-1, -1, -1, -1}}
}

// done is what a call has come to: what the process was told after its end does
// not count.
func (s *story) done(err error) error {
	if s.disk.Stopped() {
		return errors.Join(errStopped, err)
	}
	return err
}

func (s *story) open() error {
	store, err := s.disk.Open()
	if err == nil {
		s.store = store
	}
	return s.done(err)
}

// crash ends the life at hand.
func (s *story) crash(powerCut bool) {
	s.disk.Crash(powerCut)
	if s.store != nil {
		_ = s.store.Close() // of a process that is no more
		s.store = nil
	}
}

// run tells the story up to the first error.
func (s *story) run() error {
	if err := s.open(); err != nil {
		return err
	}
	if err := s.create(1); err != nil {
		return err
	}
	for i := 1; i <= storyLength; i++ {
		err := s.apply(i)
		if err != nil {
			return err
		}
		switch {
		case i == 10, i == 21, i == 34:
			err = s.copy()
		case i == 13, i == 29:
			err = s.reopen()
		case i == 17:
			err = s.create(3)
		case i == 24:
			err = s.remove(3)
		case i%4 == 0:
			err = s.flush()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *story) create(id pinetree.GroupID) error {
	s.tried[id] = max(s.tried[id], 0)
	err := s.done(s.store.Create(id, pinetree.Position{}))
	if err == nil {
		s.sure[id] = max(s.sure[id], 0)
	}
	return err
}

func (s *story) remove(id pinetree.GroupID) error {
	s.sure[id] = -1
	err := s.done(s.store.Remove(id))
	if err == nil {
		s.tried[id] = -1
	}
	return err
}

func (s *story) apply(i int) error {
	e, err := s.store.Open(1)
	if err == nil {
		s.tried[1] = i
		err = e.Apply(s.writes[i-1])
	}
	return s.done(err)
}

func (s *story) flush() error {
	e, err := s.store.Open(1)
	if err != nil {
		return s.done(err)
	}
	at, err := e.Flush()
	if err = s.done(err); err == nil {
		s.sure[1] = int(at.Index)
	}
	return err
}

// reopen ends the process in order; what was applied and not flushed may be
// gone.
func (s *story) reopen() error {
	err := s.done(s.store.Close())
	s.store = nil
	if err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return err
	}
	return s.replay(s.tried[1])
}

// replay applies again what group 1 lacks up to an index.
func (s *story) replay(to int) error {
	e, err := s.store.Open(1)
	if err != nil {
		return s.done(err)
	}
	for i := int(e.Position().Index) + 1; i <= to; i++ {
		if err := s.apply(i); err != nil {
			return err
		}
	}
	return nil
}

// copy restores group 1 into group 2, and a part of it into group 3.
func (s *story) copy() error {
	snapshot, err := s.store.Snapshot(1)
	if err != nil {
		return s.done(err)
	}
	defer snapshot.Close()
	for _, id := range []pinetree.GroupID{3, 2} {
		r, err := s.store.Restore(id, snapshot.Position())
		if err != nil {
			return s.done(err)
		}
		defer r.Close()
		if err := snapshot.Chunks(r.Write); err != nil {
			return s.done(err)
		}
		if id == 3 {
			if err := r.Close(); err != nil {
				return s.done(err)
			}
			continue
		}
		before := s.sure[id]
		s.tried[id] = int(snapshot.Position().Index)
		if err := s.done(r.Commit()); err != nil {
			s.sure[id] = before
			return err
		}
		s.sure[id] = s.tried[id]
	}
	return nil
}

// check opens what is left and compares it with the story; then it goes on to
// the story's end.
func (s *story) check() error {
	if err := s.open(); err != nil {
		return err
	}
	groups, err := s.store.Groups()
	if err = s.done(err); err != nil {
		return err
	}
	for id := pinetree.GroupID(1); id <= 3; id++ {
		there := slices.Contains(groups, id)
		switch {
		case there && s.tried[id] < 0:
			return fmt.Errorf("group %d is there", id)
		case !there && s.sure[id] >= 0:
			return fmt.Errorf("group %d is gone", id)
		case there:
			err = s.checkGroup(id)
		}
		if err = s.done(err); err != nil {
			return err
		}
	}
	if err := s.create(1); err != nil {
		return err
	}
	if err := s.replay(storyLength); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	return s.done(s.checkGroup(1))
}

func (s *story) checkGroup(id pinetree.GroupID) error {
	e, err := s.store.Open(id)
	if err != nil {
		return err
	}
	at := int(e.Position().Index)
	// A restore leaves the state before or the one after, nothing between.
	if at < s.sure[id] || at > s.tried[id] || id == 2 && at != s.sure[id] && at != s.tried[id] {
		return fmt.Errorf("group %d is at %d, and %d is sure, %d was tried", id, at, s.sure[id], s.tried[id])
	}
	if s.disk.Stopped() {
		return nil // the rest ends the test where something differs
	}
	model := enginetest.Memory(s.t)
	want := pinetree.Position{}
	for _, write := range s.writes[:at] {
		if err := model.Apply(write); err != nil {
			return err
		}
		want = write.Position.Clone()
	}
	if id == 2 {
		want.Restored = want.Index
	}
	return enginetest.Same(s.t, e, model, want)
}
