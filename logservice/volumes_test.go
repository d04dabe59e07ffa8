package logservice

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/trimming"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func (m *member) volumes() wirepb.VolumesClient { return wirepb.NewVolumesClient(m.conn) }

// state is what a member says of the volume by itself.
func (c *cluster) state(at int) *wirepb.StateResponse {
	c.t.Helper()
	s, err := c.members[at].reads().State(c.ctx(), &wirepb.StateRequest{Volume: 7, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE}})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// truncated waits until every member has truncated the volume at an LSN, and says
// because of what it keeps the rest.
func (c *cluster) truncated(lsn pinetree.LSN, because string) {
	c.t.Helper()
	c.truncatedWithin(lsn, 0, because)
}

// truncatedWithin is truncated, and it may be a little less.
func (c *cluster) truncatedWithin(lsn, less pinetree.LSN, because string) {
	c.t.Helper()
	for i := range c.members {
		c.eventually(fmt.Sprintf("node %d keeps what is above %s because %q", i+1, lsn, because), func() error {
			s := c.state(i)
			if at := pinetree.LSN(s.Watermarks.Truncated); at > lsn || at < lsn-less || !strings.Contains(s.KeptBecause, because) {
				return fmt.Errorf("it is truncated at %s, %d bytes are kept, because %q", pinetree.LSN(s.Watermarks.Truncated), s.LogBytes, s.KeptBecause)
			}
			return nil
		})
	}
}

// leftAlone is how much may be kept above what is set: less is not worth a step.
var leftAlone = pinetree.LSN(trimming.DefaultStep.MinBytes)

// ship sends batches of 128 KiB and returns their ends.
func (s *shipper) ship(batches int) (ends []pinetree.LSN) {
	s.c.t.Helper()
	for range batches {
		b := s.batch(1, make([]byte, 128<<10-60)) // with its header, 128 KiB at most
		s.send(b)
		ends = append(ends, b.LSN)
	}
	s.await(ends[batches-1])
	return ends
}

func TestAVolumeKeepsWhatIsSetAndWhatASlotHolds(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	w := c.open(0, &wirepb.OpenRequest{Base: 1000})
	ends := w.ship(32)
	leader := c.members[0].volumes()
	c.truncated(0, "no retention is set")
	slot := &wirepb.Slot{Name: "backup", Lsn: uint64(ends[11]), MaxBytes: 3 << 20}
	if got, err := leader.PutSlot(c.ctx(), &wirepb.PutSlotRequest{Volume: 7, Slot: slot}); err != nil || !proto.Equal(got.Slot, slot) {
		t.Fatalf("slot %v, %v", got, err)
	}
	settings := &wirepb.VolumeSettings{KeepBytes: 1 << 20, MaxTails: 9}
	if _, err := leader.SetVolume(c.ctx(), &wirepb.SetVolumeRequest{Volume: 7, Settings: settings}); err != nil {
		t.Fatal(err)
	}
	c.truncated(ends[11], "slot backup keeps 2.5 MiB above "+ends[11].String())
	for i, m := range c.members {
		s := c.state(i)
		if !proto.Equal(s.Settings, settings) || len(s.Slots) != 1 || !proto.Equal(s.Slots[0], slot) || s.LogBytes < 2<<20 || s.LogBytes > 5<<19 {
			t.Errorf("node %d says settings %v, slots %v, %d bytes", i+1, s.Settings, s.Slots, s.LogBytes)
		}
		var gone *pinetree.TruncatedError
		if _, err := c.tail(m, 1001); !errors.As(err, &gone) || gone.First != ends[11] {
			t.Errorf("node %d: a tail from what is gone: %v", i+1, err)
		}
		if first, err := c.tail(m, ends[11]); err != nil || first.Prev != ends[11] {
			t.Errorf("node %d: a tail from the first LSN begins with (%s, %s], %v", i+1, first.Prev, first.LSN, err)
		}
	}

	// Beyond its bound the slot holds nothing any more, and says so.
	ends = append(ends, w.ship(8)...)
	c.truncatedWithin(ends[31], leftAlone, "less than 1 MiB of log follow")
	if s := c.state(1); len(s.Slots) != 1 || !s.Slots[0].Lost {
		t.Errorf("slots %v, want the one lost", s.Slots)
	}
	slot.Lsn = uint64(ends[39])
	if _, err := leader.PutSlot(c.ctx(), &wirepb.PutSlotRequest{Volume: 7, Slot: slot}); !errors.Is(err, pinetree.ErrTruncated) {
		t.Errorf("a lost slot was put: %v", err)
	}

	// The next leader goes on.
	c.appoint(2, 2)
	w = c.open(2, &wirepb.OpenRequest{})
	ends = w.ship(24)
	c.truncatedWithin(ends[15], leftAlone, "less than 1 MiB of log follow")
}

// tail is the first batch of the log from an LSN on.
func (c *cluster) tail(m *member, from pinetree.LSN) (pinetree.Batch, error) {
	stream, err := m.reads().Tail(c.ctx(), &wirepb.TailRequest{Volume: 7, From: uint64(from), Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE}})
	if err != nil {
		return pinetree.Batch{}, err
	}
	r, err := stream.Recv()
	if err != nil {
		return pinetree.Batch{}, err
	}
	b, _, err := storepb.DecodeBatch(r.Batches[0])
	return b, err
}

func TestOrdersAboutVolumesAreChecked(t *testing.T) {
	c := startCluster(t, 2)
	c.group(0, pinetree.FormatRedo)
	w := c.open(0, &wirepb.OpenRequest{})
	var ends []pinetree.LSN
	for i := range 10 {
		b := w.batch(1, put(t, "k", []byte{byte(i)}))
		w.send(b)
		ends = append(ends, b.LSN)
	}
	w.await(ends[9])
	leader := c.members[0].volumes()
	slot := func(name string, lsn pinetree.LSN) error {
		_, err := leader.PutSlot(c.ctx(), &wirepb.PutSlotRequest{Volume: 7, Slot: &wirepb.Slot{Name: name, Lsn: uint64(lsn)}})
		return err
	}
	truncate := func(lsn pinetree.LSN) *wirepb.TruncateVolumeResponse {
		t.Helper()
		r, err := leader.TruncateVolume(c.ctx(), &wirepb.TruncateVolumeRequest{Volume: 7, Lsn: uint64(lsn)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if _, err := c.members[1].volumes().SetVolume(c.ctx(), &wirepb.SetVolumeRequest{Volume: 7}); !errors.Is(err, pinetree.ErrNotLeader) {
		t.Errorf("a follower took settings: %v", err)
	}
	if err := slot("a", ends[4]); err != nil {
		t.Fatal(err)
	}
	if r := truncate(ends[7]); pinetree.LSN(r.Truncated) != ends[4] || !strings.Contains(r.KeptBecause, "slot a keeps") {
		t.Errorf("truncated beyond a slot: %v", r)
	}
	for name, c := range map[string]struct{ got, want error }{
		"an unknown volume": {func() error {
			_, err := leader.DropSlot(c.ctx(), &wirepb.DropSlotRequest{Volume: 8, Name: "a"})
			return err
		}(), pinetree.ErrUnknownVolume},
		"a slot below what is gone": {slot("b", ends[3]), pinetree.ErrTruncated},
		"a slot above the log":      {slot("b", ends[9]+1), pinetree.ErrBadBatch},
		"a slot without a name":     {slot("", ends[9]), pinetree.ErrBadBatch},
		"an odd name":               {slot("a b", ends[9]), pinetree.ErrBadBatch},
		"a long name":               {slot(strings.Repeat("n", 65), ends[9]), pinetree.ErrBadBatch},
		"truncating nothing": {func() error {
			_, err := leader.TruncateVolume(c.ctx(), &wirepb.TruncateVolumeRequest{Volume: 7})
			return err
		}(), pinetree.ErrBadBatch},
		"keeping for ever and longer": {func() error {
			_, err := leader.SetVolume(c.ctx(), &wirepb.SetVolumeRequest{Volume: 7, Settings: &wirepb.VolumeSettings{KeepMs: 1 << 63}})
			return err
		}(), pinetree.ErrBadBatch},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	for i := range pinetree.MaxSlots - 1 {
		if err := slot(fmt.Sprintf("s%d", i), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := slot("more", 0); !errors.Is(err, pinetree.ErrOverQuota) {
		t.Errorf("one slot too many: %v", err)
	}
	if err := slot("a", ends[9]); err != nil {
		t.Errorf("moving one of the slots: %v", err)
	}
	for _, s := range append(c.state(0).Slots, &wirepb.Slot{Name: "never"}) {
		if _, err := leader.DropSlot(c.ctx(), &wirepb.DropSlotRequest{Volume: 7, Name: s.Name}); err != nil {
			t.Fatal(err)
		}
	}
	if r := truncate(ends[9] + 500); pinetree.LSN(r.Truncated) != ends[9] || r.KeptBecause != "the log ends there" {
		t.Errorf("truncated beyond the end: %v", r)
	}
	c.truncated(ends[9], "nothing is kept")
	for _, m := range c.members {
		read, err := m.reads().Key(c.ctx(), &wirepb.KeyRequest{Volume: 7, Key: []byte("k"), Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE}})
		if err != nil || read.Value[0] != 9 {
			t.Errorf("the newest state: %v, %v", read, err)
		}
		_, err = m.reads().Key(c.ctx(), &wirepb.KeyRequest{Volume: 7, Key: []byte("k"), Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE, At: uint64(ends[8])}})
		if gone := (*pinetree.TruncatedError)(nil); !errors.As(err, &gone) || gone.First != ends[9] {
			t.Errorf("a state that is gone: %v", err)
		}
	}
}
