package policy

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/lease"
)

// TestAProcessThatIsBeingKilledIsAskedAgainSoon lets the stream of a node break,
// and the first question after it break, too, as while the kernel takes a process
// down.
func TestAProcessThatIsBeingKilledIsAskedAgainSoon(t *testing.T) {
	thresholds := Thresholds{Silent: 480 * time.Millisecond, Dead: 1500 * time.Millisecond}
	at := func(ms int) lease.Instant {
		return lease.Instant(time.Second) + lease.Instant(time.Duration(ms)*time.Millisecond)
	}
	var v Vitals
	v.Connect()
	v.Hear(at(0))
	v.Disconnect()
	if !v.WantsProbe(at(10), thresholds) {
		t.Fatal("a node whose stream broke is not asked")
	}
	v.ProbeBegins(at(10))
	v.ProbeEnds(at(12), false, false)
	if v.WantsProbe(at(20), thresholds) {
		t.Error("asked again without any pause")
	}
	if !v.WantsProbe(at(40), thresholds) {
		t.Error("not asked again 30 ms after a question that broke")
	}
	v.ProbeBegins(at(40))
	v.ProbeEnds(at(41), true, false)
	if v.WantsProbe(at(100), thresholds) {
		t.Error("a node that answers is asked again 60 ms later")
	}
	v.ProbeBegins(at(300))
	v.ProbeEnds(at(301), false, true)
	if v.Health(at(301), thresholds) != Dead {
		t.Error("its address refuses connections, and it is not dead")
	}
}
