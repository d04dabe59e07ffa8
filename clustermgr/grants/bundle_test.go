package grants

import (
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// TestBundlesThatWaitBecomeOne adds bundles to one that has not left: no grant is
// lost, and all count from the oldest heartbeat that any of them answers.
func TestBundlesThatWaitBecomeOne(t *testing.T) {
	with := func(sequence uint64, groups ...pinetree.GroupID) Bundle {
		a := Bundle{Sequence: sequence}
		for _, g := range groups {
			a.Grant(lease.Grant{Group: g, Appointment: pinetree.AppointmentID(sequence), Term: 1, Duration: time.Second})
		}
		return a
	}
	for _, c := range []struct {
		name     string
		bundles  []Bundle
		sequence uint64
		groups   []uint64
	}{
		{"the first is as it is", []Bundle{with(3, 1)}, 3, []uint64{1}},
		{"the older heartbeat counts", []Bundle{with(3, 1), with(4, 2)}, 3, []uint64{1, 2}},
		{"also when it comes last", []Bundle{with(4, 1), with(3, 2)}, 3, []uint64{1, 2}},
		{"one without grants does not", []Bundle{with(3), with(4, 2)}, 4, []uint64{2}},
		{"nor later", []Bundle{with(3, 2), with(4)}, 3, []uint64{2}},
		{"a group's newer grant replaces its older one", []Bundle{with(3, 1), with(4, 1, 2)}, 3, []uint64{1, 2}},
	} {
		var all Bundle
		for _, r := range c.bundles {
			all.Add(r)
		}
		got := all.Response()
		if got.Sequence != c.sequence || len(got.Grants) != len(c.groups) {
			t.Errorf("%s: %v", c.name, got)
			continue
		}
		for i, g := range got.Grants {
			if g.Group != c.groups[i] {
				t.Errorf("%s: grants of %v, want %v", c.name, got.Grants, c.groups)
			}
		}
	}
}
