package raftlog_test

import (
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

func TestMarksFallOnDisksOfEverySize(t *testing.T) {
	for shift := range 60 {
		total := uint64(1) << shift
		m := raftlog.Marks(total)
		if err := m.Check(); err != nil {
			t.Errorf("disk of %d bytes: %v", total, err)
		}
		if m.Warn > total/2 || m.Warn > 64<<30 {
			t.Errorf("disk of %d bytes: warns at %d", total, m.Warn)
		}
	}
	if err := (raftlog.SpaceMarks{Warn: 4, Throttle: 5, Stop: 2, Reserve: 1}).Check(); err == nil {
		t.Error("marks that rise were accepted")
	}
}

func TestLevelsRiseAsSpaceFalls(t *testing.T) {
	m := raftlog.SpaceMarks{Warn: 400, Throttle: 300, Stop: 200, Reserve: 100}
	for free, want := range map[uint64]raftlog.SpaceLevel{
		400: raftlog.SpacePlenty, 399: raftlog.SpaceWarn, 300: raftlog.SpaceWarn, 299: raftlog.SpaceThrottle, 200: raftlog.SpaceThrottle,
		199: raftlog.SpaceStop, 100: raftlog.SpaceStop, 99: raftlog.SpaceReserve, 0: raftlog.SpaceReserve,
	} {
		level := m.Level(free)
		if level != want {
			t.Errorf("%d bytes free: %v, want %v", free, level, want)
		}
		if err := (raftlog.Space{Level: level, Free: free}).Err(); errors.Is(err, pinetree.ErrDiskFull) != (free < 200) {
			t.Errorf("%d bytes free: %v", free, err)
		}
	}
}
