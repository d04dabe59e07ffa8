package group

import (
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/sharing"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// flood offers batches of 70 KiB of a volume until 2 MiB more are there, and
// returns how much the leader has in flight then.
func (c *cluster) flood(v pinetree.VolumeID, at *pinetree.LSN) int {
	for range 30 {
		c.offerOf(v, at, 70<<10)
	}
	c.peer(1).turn()
	return c.peer(1).replica.flight.bytes
}

func (c *cluster) offerOf(v pinetree.VolumeID, at *pinetree.LSN, bytes int) {
	c.t.Helper()
	b, err := storepb.EncodeBatch(v, 1, []pinetree.Record{{Prev: *at, LSN: *at + 10, Payload: make([]byte, bytes)}})
	c.must(err)
	c.must(c.offer(1, b))
	*at += 10
}

// TestAVolumeThatHasMuchLeavesRoomForAnother: alone, a volume has as much in flight
// as there may be; beside another one, or beside another group on the node, little,
// so that who comes next is soon committed.
func TestAVolumeThatHasMuchLeavesRoomForAnother(t *testing.T) {
	const quiet = theVolume + 1
	o := DefaultOptions()
	o.MaxEntryBytes, o.MaxInflightBytes, o.MaxSharedBytes = 70<<10, 1<<20, 200<<10
	c := newLedCluster(t, o)
	c.create(1, quiet)
	c.run()
	c.open(1, quiet, fence(1))
	c.run()
	var noise, other pinetree.LSN
	alone := func(when string) {
		t.Helper()
		if n := c.flood(theVolume, &noise); n < o.MaxInflightBytes {
			t.Errorf("%s, alone, it has %d bytes in flight; there may be %d", when, n, o.MaxInflightBytes)
		}
		c.run()
	}
	beside := func(when string) {
		t.Helper()
		if n := c.flood(theVolume, &noise); n < o.MaxSharedBytes || n > o.MaxSharedBytes+slack {
			t.Errorf("beside %s it has %d bytes in flight; there may be about %d", when, n, o.MaxSharedBytes)
		}
		c.run()
	}
	alone("at first")
	c.offerOf(quiet, &other, 10)
	beside("another volume")
	// What comes while the line is long is in the log with the next entries.
	c.flood(theVolume, &noise)
	c.offerOf(quiet, &other, 10)
	for rounds := 0; c.peer(1).replica.volumes[quiet].committed < other; rounds++ {
		if rounds > 20 {
			t.Fatal("another volume's batch is not committed")
		}
		for _, p := range c.peers {
			p.turn()
			for p.save() {
			}
		}
		wire := c.wire
		c.wire = nil
		c.deliver(wire)
	}
	if ahead := c.peer(1).replica.volumes[theVolume].committed; noise-ahead < 100 {
		t.Errorf("another volume's batch was committed after all but %d batches that were there before", (noise-ahead)/10)
	}
	c.run()
	if at := c.acked(1); at != noise {
		t.Errorf("acknowledged up to %s of %s", at, noise)
	}
	c.pass(3e9)
	alone("when the other one has gone")

	var groups sharing.Users[pinetree.GroupID]
	c.peer(1).replica.cfg.Groups = &groups
	groups.Note(1, c.now)
	groups.Note(2, c.now)
	beside("another group")
}
