package ship

import (
	"context"
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
)

// TestAVolumeThatWasDeletedAndMadeAgainIsGone: the name is another volume's now, and
// whoever keeps clients by name must hear that in the words that it looks for.
func TestAVolumeThatWasDeletedAndMadeAgainIsGone(t *testing.T) {
	w := newWorld(t)
	fill(w, 1)
	c := w.dial(nil)
	w.change(func() { w.managers[0].remade = testVolume + 1 })
	if _, err := c.Refresh(within(t)); !errors.Is(err, pinetree.ErrUnknownVolume) || !settled(err) {
		t.Errorf("the route of a volume that was made again: %v", err)
	}
	c.doubt()
	if _, err := c.Reader(ReadConfig{}).State(within(t)); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("a read of a volume that was made again: %v", err)
	}
}

// TestACallerThatDoesNotWaitSilencesNoManager: the managers answer, and who asks them
// next hears them.
func TestACallerThatDoesNotWaitSilencesNoManager(t *testing.T) {
	w := newWorld(t)
	c := w.dial(nil)
	gone, leave := context.WithCancel(t.Context())
	leave()
	_, _ = c.Refresh(gone)
	w.change(func() { w.elect(2, 0) })
	if route, err := c.Refresh(within(t)); err != nil || route.Leader != 2 {
		t.Errorf("node 2 leads, and the route names %d: %v", route.Leader, err)
	}
}
