package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/logservice/trimming"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestAVolumeIsKeptAsSetOrHeld keeps a mebibyte of a volume, but for a slot that holds
// more until it is over its bound, looks at every node, kills the leader, and reads
// what is gone and what is not.
func TestAVolumeIsKeptAsSetOrHeld(t *testing.T) {
	beside(t)
	c := startCluster(t, 3)
	volume := c.createVolume("held", pinetree.FormatRedo)
	w, err := c.client("held").OpenWriter(c.within(20*time.Second), ship.WriterConfig{RetryFor: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tail := w.Base()
	// fill writes as many records of 64 KiB, the n-th of which sets key k to n.
	n := uint32(0)
	fill := func(records int) pinetree.LSN {
		t.Helper()
		for range records {
			n++
			value := append(make([]byte, 64<<10), fmt.Sprint(n)...)
			payload, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte("k"), Value: value}}}}})
			if err == nil {
				err = w.Append(c.within(20*time.Second), pinetree.Record{Prev: tail, LSN: tail + 1000, Payload: payload})
			}
			if err != nil {
				t.Fatal(err)
			}
			tail += 1000
		}
		if err := w.Flush(c.within(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return tail
	}
	// kept waits until every node that runs has truncated the volume from one LSN to
	// another, and says why it keeps the rest. A step that came in the middle of a fill
	// may leave less than the next one has to give back, which then waits out its
	// patience.
	kept := func(from, to pinetree.LSN, because string) {
		t.Helper()
		within(t, trimming.DefaultStep.Patience+30*time.Second, because, func() error {
			for _, node := range c.nodes {
				if !node.running() {
					continue
				}
				s, err := c.state(node, volume.Volume, wirepb.ReadLevel_STALE, time.Second)
				if err != nil {
					return err
				}
				if at := pinetree.LSN(s.Watermarks.Truncated); at < from || at > to || !strings.Contains(s.KeptBecause, because) {
					return fmt.Errorf("%s keeps %d bytes above %s, want %s to %s, because %q", node.addr, s.LogBytes, at, from, to, s.KeptBecause)
				}
			}
			return nil
		})
	}
	held := fill(24)
	volumes := wirepb.NewVolumesClient(c.dial(c.mustLeader(volume.Group).addr))
	if _, err := volumes.PutSlot(c.within(10*time.Second), &wirepb.PutSlotRequest{Volume: volume.Volume, Slot: &wirepb.Slot{Name: "backup", Lsn: uint64(held), MaxBytes: 4 << 20}}); err != nil {
		t.Fatal(err)
	}
	if _, err := volumes.SetVolume(c.within(10*time.Second), &wirepb.SetVolumeRequest{Volume: volume.Volume, Settings: &wirepb.VolumeSettings{KeepBytes: 1 << 20}}); err != nil {
		t.Fatal(err)
	}
	fill(40)
	kept(held, held, "slot backup keeps")
	at := func(node *node, lsn pinetree.LSN) (*wirepb.KeyResponse, error) {
		return c.reads(node).Key(c.within(5*time.Second), &wirepb.KeyRequest{Volume: volume.Volume, Key: []byte("k"), Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE, At: uint64(lsn)}})
	}
	for _, node := range c.nodes {
		if read, err := at(node, held); err != nil || !strings.HasSuffix(string(read.Value), "\x0024") {
			t.Errorf("%s: the first state that is kept: %v", node.addr, err)
		}
		var gone *pinetree.TruncatedError
		if _, err := at(node, held-1); !errors.As(err, &gone) || gone.First != held {
			t.Errorf("%s: a state that is gone: %v", node.addr, err)
		}
		stream, err := c.reads(node).Tail(c.within(5*time.Second), &wirepb.TailRequest{Volume: volume.Volume, From: 1, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE}})
		if err == nil {
			_, err = stream.Recv()
		}
		if !errors.Is(err, pinetree.ErrTruncated) {
			t.Errorf("%s: a tail of what is gone: %v", node.addr, err)
		}
	}

	c.mustLeader(volume.Group).kill()
	end := fill(40) // with which the slot is over its bound
	kept(end-18_000, end-14_000, "less than 1 MiB of log follow")
	for _, node := range c.nodes {
		if !node.running() {
			continue
		}
		if read, err := at(node, 0); err != nil || !strings.HasSuffix(string(read.Value), "\x00104") {
			t.Errorf("%s: the newest state: %v", node.addr, err)
		}
		s, err := c.state(node, volume.Volume, wirepb.ReadLevel_STALE, time.Second)
		if err != nil || len(s.Slots) != 1 || !s.Slots[0].Lost {
			t.Errorf("%s: slots %v, %v, want the one lost", node.addr, s.GetSlots(), err)
		}
	}
}
