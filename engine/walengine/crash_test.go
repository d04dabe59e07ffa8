package walengine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk/faultfs"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/metatest"
	"github.com/pinetree-db/pinetree/engine/walengine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// tiny has a new file for every few writes and closes files all the time.
var tiny = walengine.Options{FileBytes: 1 << 10, MaxOpenFiles: 2}

// storyLength is the raft index up to which the story goes.
const storyLength = 36

// history is what is applied to group 1, by raft index from 1 on.
func history(t testing.TB) []engine.Write {
	random, source := rand.New(rand.NewPCG(5, 5)), metatest.NewSource(t)
	position := pinetree.Position{Term: 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{}}
	var writes []engine.Write
	for index := pinetree.RaftIndex(1); index <= storyLength; index++ {
		position = position.Clone()
		source.Random(&position, random, pinetree.VolumeID(index%4)) // there is no volume 0
		position.Index = index
		if index%11 == 1 {
			position.Membership = fmt.Appendf(nil, "members of %d", index)
		}
		var batches []pinetree.Batch
		for range random.IntN(4) {
			id := pinetree.VolumeID(1 + random.IntN(3))
			v, ok := position.Volumes[id]
			if !ok {
				v = pinetree.VolumePosition{LSN: 100, Base: 100, Format: pinetree.FormatOpaque, Terms: []pinetree.TermStart{{Term: 1, Start: 100}}}
			}
			payload := make([]byte, random.IntN(3)*random.IntN(900)) // some are zero for sectors
			if random.IntN(3) > 0 {
				for i := range payload {
					payload[i] = byte(random.Uint32())
				}
			}
			b, err := storepb.EncodeBatch(id, 1, []pinetree.Record{{Prev: v.LSN, LSN: v.LSN + 10, Payload: payload}})
			if err != nil {
				t.Fatal(err)
			}
			v.LSN = b.LSN
			position.Volumes[id] = v
			batches = append(batches, b)
		}
		if index == 25 { // most of it is truncated
			for id, v := range position.Volumes {
				v.Truncated = max(v.Base, writes[18].Position.Volumes[id].LSN)
				position.Volumes[id] = v
			}
		}
		writes = append(writes, engine.Write{Position: position, Batches: batches, Meta: source.Take()})
	}
	return writes
}

// story is one life of a store after another on one disk, until something
// fails, and what must be left of it.
type story struct {
	t       testing.TB
	disk    *faultfs.Disk
	options walengine.Options
	history []engine.Write

	store *walengine.Store
	// One of the indexes from sure to tried is what a group is at; none, when
	// sure is negative, may be what is left, and when tried is, too, must be.
	sure, tried [4]int
}

func newStory(t testing.TB, o walengine.Options, h []engine.Write) *story {
	s := &story{t: t, disk: faultfs.New(), options: o, history: h}
	for i := range s.sure {
		s.sure[i], s.tried[i] = -1, -1
	}
	return s
}

func (s *story) open() error {
	fs, err := s.disk.Open()
	if err != nil {
		return err
	}
	if s.store, err = walengine.OpenFS(fs, s.options); err != nil {
		return errors.Join(err, fs.Close())
	}
	return nil
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
		if err := s.apply(i); err != nil {
			return err
		}
		var err error
		switch {
		case i == 10, i == 20, i == 30:
			err = s.copy()
		case i == 11, i == 27:
			err = s.reopen()
		case i == 15:
			err = s.create(3)
		case i == 22:
			err = s.remove(3)
		case i%4 == 0:
			err = s.flush()
		}
		if err != nil {
			return err
		}
	}
	return s.reopen()
}

func (s *story) create(id pinetree.GroupID) error {
	s.tried[id] = 0
	err := s.store.Create(id, pinetree.Position{})
	if err == nil {
		s.sure[id] = 0
	}
	return err
}

func (s *story) remove(id pinetree.GroupID) error {
	s.sure[id] = -1
	err := s.store.Remove(id)
	if err == nil {
		s.tried[id] = -1
	}
	return err
}

func (s *story) apply(i int) error {
	e, err := s.store.Open(1)
	if err != nil {
		return err
	}
	s.tried[1] = i
	return e.Apply(s.history[i-1])
}

func (s *story) flush() error {
	e, err := s.store.Open(1)
	if err != nil {
		return err
	}
	at, err := e.Flush()
	if err == nil {
		s.sure[1] = int(at.Index)
	}
	return err
}

func (s *story) reopen() error {
	if err := s.store.Close(); err != nil {
		return err
	}
	s.sure[1] = s.tried[1]
	return s.open()
}

// copy restores group 1 into group 2, and a part of it into group 3.
func (s *story) copy() error {
	snapshot, err := s.store.Snapshot(1)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	for _, id := range []pinetree.GroupID{3, 2} {
		r, err := s.store.Restore(id, snapshot.Position())
		if err != nil {
			return err
		}
		defer r.Close()
		if err := snapshot.Chunks(r.Write); err != nil {
			return err
		}
		if id == 3 {
			if err := r.Close(); err != nil {
				return err
			}
			continue
		}
		s.tried[id] = int(snapshot.Position().Index)
		if err := r.Commit(); err != nil {
			return err
		}
		s.sure[id] = s.tried[id]
	}
	return nil
}

// check opens what is left and compares it with the history; then it goes on
// with it to the history's end.
func (s *story) check() error {
	if err := s.open(); err != nil {
		return err
	}
	groups, err := s.store.Groups()
	if err != nil {
		return err
	}
	for id := pinetree.GroupID(1); id <= 3; id++ {
		if !slices.Contains(groups, id) {
			if s.sure[id] >= 0 {
				return fmt.Errorf("group %d is gone", id)
			}
			continue
		}
		if s.tried[id] < 0 {
			return fmt.Errorf("group %d is there", id)
		}
		if err := s.checkGroup(id); err != nil {
			return err
		}
	}
	if err := s.goOn(groups); err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	return s.store.Close()
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
	want := pinetree.Position{}
	if at > 0 {
		want = s.history[at-1].Position.Clone()
	}
	if id == 2 {
		want.Restored = want.Index
	}
	if diff := cmp.Diff(want, e.Position(), cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("position of group %d, want (-) and got (+):\n%s", id, diff)
	}
	if e.Flushed().Index != want.Index {
		return fmt.Errorf("group %d is at %d and says that %d is flushed", id, at, e.Flushed().Index)
	}
	return errors.Join(checkLog(e, s.history[:at]), checkMetadata(e, s.history[:at]))
}

// checkMetadata compares the metadata of all volumes with what a history leads to.
func checkMetadata(e engine.Engine, history []engine.Write) error {
	var want engine.Metadata
	for _, w := range history {
		var err error
		if want, _, err = want.Advance(w); err != nil {
			return err
		}
	}
	for id := range e.Position().Volumes {
		got, err := e.Meta(id)
		if err != nil {
			return err
		}
		if diff, err := metatest.Diff(got, want.Table(id)); err != nil || diff != "" {
			return fmt.Errorf("metadata of volume %d, want (-) and got (+), %v:\n%s", id, err, diff)
		}
	}
	return nil
}

// checkLog compares the log of all volumes with that of a history.
func checkLog(e engine.Engine, history []engine.Write) error {
	for id, v := range e.Position().Volumes {
		var want []pinetree.LSN
		for _, w := range history {
			for _, b := range w.Batches {
				if b.Volume == id && b.LSN > v.Truncated {
					want = append(want, b.LSN)
				}
			}
		}
		r, err := e.Volume(id)
		if err != nil {
			return err
		}
		var got []pinetree.LSN
		err = r.Log(v.Truncated, func(b pinetree.Batch) error { got = append(got, b.LSN); return nil })
		if err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("log of volume %d: %v, %w, want %v", id, got, err, want)
		}
	}
	return nil
}

// goOn applies the rest of the history to group 1, as recovery of a replica
// does, and looks at it after another start.
func (s *story) goOn(groups []pinetree.GroupID) error {
	if !slices.Contains(groups, 1) {
		if err := s.create(1); err != nil {
			return err
		}
	}
	e, err := s.store.Open(1)
	if err != nil {
		return err
	}
	for i := int(e.Position().Index) + 1; i <= storyLength; i++ {
		if err := s.apply(i); err != nil {
			return err
		}
	}
	if err := s.reopen(); err != nil {
		return err
	}
	return s.checkGroup(1)
}

// TestCrashAnywhere ends a story at each of its operations on the disk, by a
// kill, a power cut and an I/O error; then it lets recovery end in the same way
// before it looks at what is left. Not every mode is tried at every operation.
func TestCrashAnywhere(t *testing.T) {
	t.Run("Gathered", func(t *testing.T) { crashAnywhere(t, tiny, 4) })
	t.Run("Plain", func(t *testing.T) { crashAnywhere(t, walengine.Plain(tiny), 2) })
}

func crashAnywhere(t *testing.T, options walengine.Options, every int) {
	h := history(t)
	whole := newStory(t, options, h)
	if err := whole.run(); err != nil {
		t.Fatal(err)
	}
	operations := whole.disk.Operations()
	if testing.Short() {
		every = 12
	}
	for operation := 1; operation <= operations; operation++ {
		for mode := range 6 {
			if (operation+mode)%every != 0 {
				continue
			}
			s := newStory(t, options, h)
			fault, seed := faultfs.Stop, uint64(operation*16+mode)
			if mode == 5 {
				fault = faultfs.Fail
			}
			s.disk.Inject(operation, fault)
			err := s.run()
			if err == nil && fault == faultfs.Stop {
				t.Fatalf("operation %d: the story went on after the end", operation)
			}
			s.disk.Crash(faultfs.Crash{PowerCut: mode > 0, Seed: seed})
			if mode%2 == 1 {
				s.disk.Inject(s.disk.Operations()+1+operation%40, faultfs.Stop)
				if err := s.check(); err != nil && !errors.Is(err, faultfs.ErrStopped) {
					t.Fatalf("operation %d, mode %d, while recovering: %v", operation, mode, err)
				}
				s.disk.Crash(faultfs.Crash{PowerCut: true, Seed: seed + 1})
			}
			if err := s.check(); err != nil {
				t.Fatalf("operation %d, mode %d: %v", operation, mode, err)
			}
			s.disk.Crash(faultfs.Crash{})
		}
	}
	t.Logf("%d operations", operations)
}
