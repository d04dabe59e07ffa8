package host

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/raftlog"
)

// smallDisk is a raft log on a disk with as much space as a test says.
type smallDisk struct {
	raftlog.Store
	level *atomic.Int64
}

func (d smallDisk) Space() (raftlog.Space, error) {
	return raftlog.Space{Level: raftlog.SpaceLevel(d.level.Load()), Free: 7, Total: 1000}, nil
}

// lookAgain lets the host see what its disk says now.
func lookAgain(g *Group, level *atomic.Int64, now raftlog.SpaceLevel) {
	level.Store(int64(now))
	g.host.space.Look(g.host.cfg.Log, g.host.cfg.Logger)
}

func TestWritersAreRefusedWhileTheReserveIsNeeded(t *testing.T) {
	c := newCluster(t)
	var level atomic.Int64
	c.kill(1)
	c.logs[1] = smallDisk{c.logs[1], &level}
	c.start(1)
	g := c.appoint(1)
	c.createVolume(g)
	if err := c.ship(g, 1, batches(t, 1, 0, 100)); err != nil {
		t.Fatal(err)
	}
	for _, full := range []raftlog.SpaceLevel{raftlog.SpaceStop, raftlog.SpaceReserve} {
		lookAgain(g, &level, full)
		if err := c.ship(g, 1, batches(t, 1, 100, 200)); !errors.Is(err, pinetree.ErrDiskFull) {
			t.Errorf("at the mark %s an append ended with %v", full, err)
		}
		// What keeps the group going still works.
		if _, err := g.Open(c.ctx(2*time.Second), theVolume, adapter.Fence{Term: 1}); err != nil {
			t.Errorf("at the mark %s: open: %v", full, err)
		}
	}
	lookAgain(g, &level, raftlog.SpaceWarn)
	if err := c.ship(g, 1, batches(t, 1, 100, 200)); err != nil {
		t.Errorf("with space again: %v", err)
	}
}
