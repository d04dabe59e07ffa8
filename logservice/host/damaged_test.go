package host

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// damaged is a store in which one group's state does not open.
type damaged struct {
	engine.Store
	group pinetree.GroupID
}

func (s damaged) Open(id pinetree.GroupID) (engine.Engine, error) {
	if id == s.group {
		return nil, &pinetree.CorruptError{Where: "a file", What: "a flipped bit"}
	}
	return s.Store.Open(id)
}

func TestAReplicaWithoutStateSaysWhyAndTheOthersRun(t *testing.T) {
	c := newCluster(t)
	const other = theGroup + 1
	for _, h := range c.hosts {
		if err := h.Create(c.ctx(time.Second), other, []pinetree.NodeID{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	c.kill(3)
	c.state[3] = damaged{c.state[3], other}
	c.start(3)
	g := c.appoint(1)
	c.createVolume(g)
	if err := c.ship(g, 1, batches(t, 1, 0, 100)); err != nil {
		t.Fatal(err)
	}
	if at, _, err := logEnd(c, c.group(3), pinetree.ReadConsistent, 2*time.Second); err != nil || at != 100 {
		t.Errorf("the other group: read at %s, %v", at, err)
	}
	refused, err := c.hosts[3].Group(other)
	if err != nil {
		t.Fatal(err)
	}
	s, err := refused.Status(c.ctx(time.Second))
	if err != nil || !errors.Is(s.Stopped, pinetree.ErrCorrupt) || !errors.Is(refused.View().Stopped, pinetree.ErrCorrupt) {
		t.Errorf("the damaged replica: %+v, %v", s, err)
	}
	if _, _, err := logEnd(c, refused, pinetree.ReadStale, time.Second); !errors.Is(err, pinetree.ErrCorrupt) {
		t.Errorf("a read of the damaged replica: %v", err)
	}
	if applied, flushed := refused.Replayed(); applied.Index != 0 || flushed.Index != 0 {
		t.Errorf("it has replayed up to index %d, flushed %d, without an engine", applied.Index, flushed.Index)
	}
	if _, err := refused.Watermarks(c.ctx(time.Second), theVolume); !errors.Is(err, pinetree.ErrCorrupt) {
		t.Errorf("its watermarks: %v", err)
	}
}

func TestALeaderThatReadsDamagedStateStops(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	_, err := g.Read(c.ctx(time.Second), ReadRequest{Volume: theVolume, Level: pinetree.ReadDefault}, func(engine.Reader) error {
		return fmt.Errorf("page 3: %w", &pinetree.CorruptError{Where: "a file", What: "a flipped bit"})
	})
	if !errors.Is(err, pinetree.ErrCorrupt) {
		t.Errorf("the read: %v", err)
	}
	c.eventually(func() error {
		if s, err := g.Status(c.ctx(time.Second)); err != nil || !errors.Is(s.Stopped, pinetree.ErrCorrupt) {
			return fmt.Errorf("status %+v, %v", s, err)
		}
		return nil
	})
	c.stopGrants(1)
	next := c.appoint(2)
	if err := c.ship(next, 1, batches(t, 1, 0, 100)); err != nil {
		t.Errorf("another one leads: %v", err)
	}
}
