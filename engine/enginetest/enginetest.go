// Package enginetest is the conformance suite that every engine backend
// passes. It knows the contract of package engine and nothing of a backend but
// how to open it. To test a new backend, call Run with it and, when its
// durability is that of a disk, the tests of package crashtest.
package enginetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/droptest"
	"github.com/pinetree-db/pinetree/engine/metatest"
)

// Backend tells how to make the stores under test.
type Backend struct {
	// Open opens the store that lives in a directory, empty at first. It is
	// called again for the same directory after the store was closed.
	Open func(dir string) (engine.Store, error)
	// OpaqueOnly tells that the backend keeps logs and refuses redo volumes: it
	// is spared the tests of pages and keys.
	OpaqueOnly bool
}

// Run checks a backend against the contract.
func Run(t *testing.T, b Backend) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Backend)
	}{
		{"Groups", testGroups},
		{"PositionAndDataAreOneWrite", testPosition},
		{"WhatDoesNotDecodeLeavesNothing", testUndecodable},
		{"WhatDoesNotFollowIsRefused", testMisplaced},
		{"Pages", testPages},
		{"Keys", testKeys},
		{"KeyNames", testKeyNames},
		{"ReadAt", testReadAt},
		{"Truncated", testTruncated},
		{"TruncatedWhileItIsRead", testTrimmedWhileRead},
		{"Log", testLog},
		{"LogChecksTheChecksum", testLogChecksum},
		{"VolumesAndGroupsAreApart", testApart},
		{"ReopenGoesOnFromFlushed", testReopen},
		{"BigBatches", testBig},
		{"LongPatchChains", testPatchChains},
		{"ReadersSeeWholeWrites", testReaders},
		{"ManyGroupsAtOnce", testManyGroups},
		{"Metadata", func(t *testing.T, b Backend) { metatest.Run(t, b.Open) }}, {"DroppedVolumes", func(t *testing.T, b Backend) { droptest.Run(t, b.OpaqueOnly, b.Open) }},
		{"SameAsMemory", testSameAsMemory},
		{"DigestIsOfRecords", testDigest},
		{"SnapshotIsTheWholeState", testSnapshot},
		{"SnapshotIsOneStateWhileApplyGoesOn", testSnapshotIsOneState},
		{"RestoreReplacesMore", testRestoreOverMore},
		{"RestoreRefusesWhatIsNoSnapshot", testRestoreRefuses},
		{"SameAsMemoryWithRestores", testSameAsMemoryWithRestores},
		{"RestoreWithoutCommitLeavesNothing", testRestoreIsDropped},
	} {
		if b.OpaqueOnly && slices.Contains(ofRedo, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.run(t, b) })
	}
}

// ofRedo are the tests that need redo volumes.
var ofRedo = []string{
	"PositionAndDataAreOneWrite", "WhatDoesNotDecodeLeavesNothing", "Pages", "Keys", "KeyNames", "ReadAt", "Truncated", "VolumesAndGroupsAreApart", "BigBatches", "LongPatchChains", "ReadersSeeWholeWrites", "DigestIsOfRecords",
}

// bench is an open store and its directory. Its methods end the test on error.
type bench struct {
	t       testing.TB
	backend Backend
	dir     string
	store   engine.Store
}

func newBench(t testing.TB, b Backend) *bench {
	t.Helper()
	x := &bench{t: t, backend: b, dir: t.TempDir()}
	x.open()
	t.Cleanup(func() {
		if err := x.store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return x
}

func (x *bench) open() {
	x.t.Helper()
	store, err := x.backend.Open(x.dir)
	if err != nil {
		x.t.Fatalf("open: %v", err)
	}
	x.store = store
}

// reopen closes the store and opens it again: what was flushed is there.
func (x *bench) reopen() {
	x.t.Helper()
	if err := x.store.Close(); err != nil {
		x.t.Fatalf("close: %v", err)
	}
	x.open()
}

func (x *bench) create(id pinetree.GroupID) engine.Engine {
	x.t.Helper()
	if err := x.store.Create(id, pinetree.Position{}); err != nil {
		x.t.Fatalf("create group %d: %v", id, err)
	}
	return x.engine(id)
}

func (x *bench) engine(id pinetree.GroupID) engine.Engine {
	x.t.Helper()
	e, err := x.store.Open(id)
	if err != nil {
		x.t.Fatalf("open group %d: %v", id, err)
	}
	return e
}

func apply(t testing.TB, e engine.Engine, w engine.Write) {
	t.Helper()
	if err := e.Apply(w); err != nil {
		t.Fatalf("apply of index %d: %v", w.Position.Index, err)
	}
}

func flush(t testing.TB, e engine.Engine) {
	t.Helper()
	position, err := e.Flush()
	if err != nil {
		t.Fatalf("flush: %v", err)
	}
	if position.Index != e.Position().Index || e.Flushed().Index != position.Index {
		t.Fatalf("flush says %d, Flushed %d, Position %d", position.Index, e.Flushed().Index, e.Position().Index)
	}
}

func volume(t testing.TB, e engine.Engine, id pinetree.VolumeID) engine.Reader {
	t.Helper()
	r, err := e.Volume(id)
	if err != nil {
		t.Fatalf("volume %d: %v", id, err)
	}
	return r
}

func wantError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}
