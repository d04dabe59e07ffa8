package metatest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/meta"
)

// Open opens the store that lives in a directory, empty at first. It is called
// again for the same directory after the store was closed.
type Open func(dir string) (engine.Store, error)

const (
	theGroup  pinetree.GroupID  = 1
	theVolume pinetree.VolumeID = 5
)

// Run checks a backend against the contract of metadata. That it survives crashes
// is in the suites whose writes have some.
func Run(t *testing.T, open Open) {
	t.Run("IsThereAfterRestartsAndElsewhere", func(t *testing.T) { testLife(t, open) })
	t.Run("ThatDoesNotFollowIsRefused", func(t *testing.T) { testMisplaced(t, open) })
}

// story is a group whose metadata changes, beside a model in memory.
type story struct {
	t        *testing.T
	open     Open
	dir      string
	store    engine.Store
	real     engine.Engine
	model    engine.Engine
	position pinetree.Position
	Source
}

func newStory(t *testing.T, open Open) *story {
	s := &story{t: t, open: open, dir: t.TempDir(), Source: NewSource(t)}
	memory := memengine.New(memengine.Options{})
	s.model = s.create(memory)
	s.start()
	t.Cleanup(s.stop)
	s.real = s.create(s.store)
	s.position.Volumes = map[pinetree.VolumeID]pinetree.VolumePosition{theVolume: {Format: pinetree.FormatOpaque}}
	s.write()
	return s
}

func (s *story) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) create(store engine.Store) engine.Engine {
	s.must(store.Create(theGroup, pinetree.Position{}))
	e, err := store.Open(theGroup)
	s.must(err)
	return e
}

func (s *story) start() {
	store, err := s.open(s.dir)
	s.must(err)
	s.store = store
}

func (s *story) stop() {
	if err := s.store.Close(); err != nil {
		s.t.Errorf("close: %v", err)
	}
}

// restart closes the store, with everything flushed, and opens it again.
func (s *story) restart() {
	s.t.Helper()
	s.flush()
	s.stop()
	s.start()
	e, err := s.store.Open(theGroup)
	s.must(err)
	s.real = e
}

func (s *story) flush() {
	s.t.Helper()
	_, err := s.real.Flush()
	s.must(err)
}

// next ends the write at hand.
func (s *story) next() engine.Write {
	s.position.Index++
	return engine.Write{Position: s.position.Clone(), Meta: s.Take()}
}

func (s *story) write(ops ...meta.Op) {
	s.t.Helper()
	s.writeAs(nil, ops...)
}

func (s *story) writeAs(id []byte, ops ...meta.Op) {
	s.t.Helper()
	if len(ops) > 0 {
		s.Txn(&s.position, theVolume, meta.Txn{Then: ops, ID: id})
	}
	w := s.next()
	s.must(s.real.Apply(w))
	s.must(s.model.Apply(w))
}

// testLife has large values, more ids than are remembered, deletions and
// compactions.
func testLife(t *testing.T, open Open) {
	s := newStory(t, open)
	if _, err := s.real.Meta(theVolume + 1); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Fatalf("metadata of a volume that there is not: %v", err)
	}
	for n := range meta.MaxMemories + 100 {
		s.writeAs(ID(uint64(n)), Put(fmt.Sprint("k", n%50), fmt.Sprint(n)))
		if n%400 == 399 {
			s.flush()
		}
	}
	for n := range 3 {
		s.write(Put("big", string(bytes.Repeat([]byte{byte(n), 7}, meta.MaxValueBytes/2))), Put("big\x00", "next to it"))
	}
	Compare(t, s.real, s.model)
	old, err := s.real.Meta(theVolume)
	s.must(err)
	was, err := old.Digest(0)
	s.must(err)
	s.flush()
	s.write(Delete("k", "k3"))
	s.Compact(&s.position, theVolume, s.Table(theVolume).Revision())
	s.write()
	if is, err := old.Digest(0); err != nil || is != was {
		t.Fatalf("a table changed beneath its reader: %x, %v, it was %x", is, err, was)
	}
	Compare(t, s.real, s.model)
	for range 2 { // what is of no use is removed between
		s.restart()
		Compare(t, s.real, s.model)
		s.write(Put("after", "the restart"))
	}
	s.copyTo(newStory(t, open))
}

// copyTo takes a snapshot to another store.
func (s *story) copyTo(other *story) {
	t := s.t
	snapshot, err := s.store.Snapshot(theGroup)
	s.must(err)
	restore, err := other.store.Restore(theGroup, snapshot.Position())
	s.must(err)
	s.must(snapshot.Chunks(restore.Write))
	s.must(restore.Commit())
	s.must(errors.Join(restore.Close(), snapshot.Close()))
	Compare(t, other.real, s.model)
	other.restart()
	Compare(t, other.real, s.model)
}

// testMisplaced applies what cannot follow.
func testMisplaced(t *testing.T, open Open) {
	for name, spoil := range map[string]func(*engine.Write){
		"a position without the metadata": func(w *engine.Write) { w.Meta = nil },
		"metadata without the position": func(w *engine.Write) {
			w.Position.Volumes[theVolume] = pinetree.VolumePosition{Format: pinetree.FormatOpaque}
		},
		"a revision again":                func(w *engine.Write) { w.Meta[0].Records[0].Change.Modified = 1 },
		"other bytes than the position's": func(w *engine.Write) { w.Meta[0].Records[0].Change.Value = []byte("longer than it was") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, open)
			s.write(Put("a", "1"))
			s.Txn(&s.position, theVolume, meta.Txn{Then: []meta.Op{Put("b", "2")}})
			bad := s.next()
			spoil(&bad)
			if err := s.real.Apply(bad); !errors.Is(err, pinetree.ErrCorrupt) {
				t.Fatalf("it was applied: %v, want ErrCorrupt", err)
			}
			if table, err := s.real.Meta(theVolume); err != nil || table.Revision() != 1 {
				t.Fatalf("after it the metadata is at revision %d, %v", table.Revision(), err)
			}
		})
	}
}
