package sharing

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/lease"
)

func TestSeveralAreThereForAWhile(t *testing.T) {
	var s Users[string]
	at := lease.Instant(time.Hour)
	if s.Note("a", at); s.Several(at) {
		t.Error("one alone shares it")
	}
	if s.Note("a", at); s.Several(at) {
		t.Error("one alone shares it, the second time")
	}
	if s.Note("b", at); !s.Several(at) {
		t.Error("two do not share it")
	}
	s.Note("b", at.Add(lately-1))
	if !s.Several(at.Add(lately - 1)) {
		t.Error("the first one is forgotten too early")
	}
	if s.Several(at.Add(lately)) {
		t.Error("the first one was there lately")
	}
	if s.Note("a", at.Add(2*lately)); s.Several(at.Add(2 * lately)) {
		t.Error("who comes when the other one has gone shares it")
	}
}
