package space

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/raftlog"
)

func TestWritersAreThrottledWhenLittleSpaceIsLeft(t *testing.T) {
	s := New()
	s.last.Store(&raftlog.Space{Level: raftlog.SpaceThrottle})
	began := time.Now()
	for range 3 {
		if err := s.Admit(t.Context(), throttledBytes/2); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("half as much again as is taken in a second was taken in %v", took)
	}
	if err := s.Admit(t.Context(), 100*throttledBytes); err != nil {
		t.Errorf("a large batch: %v", err)
	}
}
