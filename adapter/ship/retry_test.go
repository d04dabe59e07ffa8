package ship

import "testing"

func TestAWriterGoesWhereItIsToldAtOnce(t *testing.T) {
	d := delays{backoff: newDelay()}
	if wait := d.next(false); wait == 0 {
		t.Error("without a word of who leads, it tries again at once")
	}
	if wait := d.next(true); wait != 0 {
		t.Errorf("told who leads, it waits %v", wait)
	}
	if wait := d.next(true); wait == 0 {
		t.Error("two nodes that name each other are tried without a pause")
	}
	for range 3 { // one move after the other, with acknowledgements between
		d.reset()
		if wait := d.next(true); wait != 0 {
			t.Errorf("told who leads, after an acknowledgement, it waits %v", wait)
		}
	}
}
