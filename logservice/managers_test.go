package logservice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// TestASilentManagerIsPassedOver: the others send the node to it as long as they
// believe it to be active, and it lets the node wait each time.
func TestASilentManagerIsPassedOver(t *testing.T) {
	m := managers{addresses: []string{"a", "b", "c"}}
	var asked []string
	fail := func(err error) {
		asked = append(asked, m.address())
		m.failed(err)
	}
	fail(fmt.Errorf("%w for 1s", errSilent))
	for range 9 {
		if m.address() == "a" {
			fail(context.DeadlineExceeded)
			continue
		}
		fail(&pinetree.NotLeaderError{Addr: "a"})
	}
	if want := []string{"a", "b", "c", "b", "c", "b", "c", "b", "c", "a"}; !slices.Equal(asked, want) {
		t.Errorf("asked %v, want %v", asked, want)
	}
	// Once it answers, whatever, it is one of them again.
	for m.address() != "a" {
		m.failed(errors.New("refused"))
	}
	m.failed(errors.New("refused"))
	m.failed(&pinetree.NotLeaderError{Addr: "a"})
	if m.address() != "a" {
		t.Errorf("a hint to a manager that answers again was not followed, but %s", m.address())
	}
}

// TestASilentManagerIsWaitedForBriefly, and for longer each time, in case that it is
// slow rather than gone.
func TestASilentManagerIsWaitedForBriefly(t *testing.T) {
	m := managers{addresses: []string{"a", "b"}}
	var waited []time.Duration
	for range 40 {
		if m.address() == "a" {
			waited = append(waited, m.bound())
			m.failed(context.DeadlineExceeded)
			continue
		}
		if m.bound() != registerTimeout {
			t.Fatalf("%s, which was never silent, is waited for %v", m.address(), m.bound())
		}
		m.failed(&pinetree.NotLeaderError{Addr: "a"})
	}
	ms := time.Millisecond
	if want := []time.Duration{2000 * ms, 250 * ms, 500 * ms, 1000 * ms, 2000 * ms}; !slices.Equal(waited[:5], want) {
		t.Errorf("waited %v, want %v", waited, want)
	}
	only := managers{addresses: []string{"a"}}
	if only.failed(context.DeadlineExceeded); only.bound() != registerTimeout {
		t.Errorf("the only one is waited for %v", only.bound())
	}
}

// TestTheOnlyManagerIsNeverPassedOver for another that there is not.
func TestTheOnlyManagerIsNeverPassedOver(t *testing.T) {
	m := managers{addresses: []string{"a"}}
	for range 5 {
		if m.failed(context.DeadlineExceeded); m.address() != "a" {
			t.Fatalf("asks %s", m.address())
		}
	}
}
