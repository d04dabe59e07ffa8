package group

import (
	"errors"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/logservice/lag"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// lagging is options under which little may be committed and not replayed.
func lagging() Options {
	o := DefaultOptions()
	o.MaxEntryBytes, o.MaxMessageBytes = 70<<10, 70<<10
	o.Lag = lag.Limits{MaxBytes: 500 << 10, MaxNodeBytes: 1 << 30}
	o.Queue = adapter.Limits{MaxHeldBytes: 200 << 10, MaxHeldBatches: 1000}
	return o
}

// slack is what may come on top of the limit: the entry that reaches it, and the
// marks by which it is counted.
const slack = 200 << 10

// offerLarge ships 70 KiB and returns why it was refused.
func (c *cluster) offerLarge(leader int, at pinetree.LSN) error {
	b, err := storepb.EncodeBatch(theVolume, c.term(leader), []pinetree.Record{{Prev: at, LSN: at + 10, Payload: make([]byte, 70<<10)}})
	c.must(err)
	c.peer(leader).do(func(r *Replica) { err = r.Offer(b) })
	c.run()
	return err
}

// term is the compute term that is open.
func (c *cluster) term(leader int) pinetree.ComputeTerm {
	return c.peer(leader).engine.Position().Volumes[theVolume].Term()
}

// unapplied is how many bytes a node has committed and not replayed.
func (p *peer) unapplied() int {
	first, last := p.engine.Position().Index+1, pinetree.RaftIndex(p.replica.basic.HardState.GetCommit())
	if last < first {
		return 0
	}
	list, err := p.log.View(theGroup).Entries(uint64(first), uint64(last)+1, 1<<30)
	p.c.must(err)
	return lag.Size(list)
}

func TestALeaderWhoseEngineStandsStillTakesLittleMore(t *testing.T) {
	o := lagging()
	c := newLedCluster(t, o)
	c.peer(1).lazy = true
	var err error
	end := pinetree.LSN(0)
	for ; end < 1000 && err == nil; end += 10 {
		err = c.offerLarge(1, end)
	}
	owed, acked := c.peer(1).unapplied(), c.acked(1)
	if !errors.Is(err, pinetree.ErrQueueFull) || owed < 300<<10 || owed > int(o.Lag.MaxBytes)+slack {
		t.Fatalf("after %v, %d bytes are committed and not replayed; the limit is %d", err, owed, o.Lag.MaxBytes)
	}
	// A fence does not stand behind the batches that wait.
	opened := false
	c.peer(1).do(func(r *Replica) { r.Open(theVolume, fence(7), func(Opened, error) { opened = true }) })
	c.run()
	if c.peer(1).lazy = false; opened {
		t.Fatal("a fence was replayed by an engine that stands still")
	}
	c.run()
	if !opened {
		t.Errorf("it does not go on with its engine: %q", c.story)
	}
	if err := c.offerLarge(1, acked); err != nil || c.acked(1) != acked+10 {
		t.Errorf("the next writer: %v, acknowledged up to %s", err, c.acked(1))
	}
}

func TestAFollowerWhoseEngineStandsStillTakesLittleMoreAndHoldsNobodyUp(t *testing.T) {
	o := lagging()
	c := newLedCluster(t, o)
	c.peer(3).lazy = true
	for end := pinetree.LSN(0); end < 300; end += 10 {
		c.must(c.offerLarge(1, end))
	}
	if acked := c.acked(1); acked != 300 {
		t.Fatalf("one of three engines stands still, and only %s is acknowledged", acked)
	}
	if owed := c.peer(3).unapplied(); owed < 300<<10 || owed > int(o.Lag.MaxBytes)+slack {
		t.Errorf("%d bytes are committed there and not replayed; the limit is %d", owed, o.Lag.MaxBytes)
	}
	if last, err := c.peer(3).log.View(theGroup).LastIndex(); err != nil || last > 14 {
		t.Errorf("its log goes on to %d, %v", last, err)
	}
	c.peer(3).lazy = false
	c.run() // without a heartbeat, by which raft repairs what was lost
	c.equal(1, 3)
}

// With a second follower down, the quorum is as fast as the engine of the one
// that is left: nothing grows anywhere.
func TestAQuorumThatCannotReplayCommitsLittleMore(t *testing.T) {
	o := lagging()
	o.MaxInflightBytes = 200 << 10
	c := newLedCluster(t, o)
	c.isolate(2, true)
	c.peer(3).lazy = true
	var err error
	end := pinetree.LSN(0)
	for ; end < 1000 && err == nil; end += 10 {
		err = c.offerLarge(1, end)
	}
	if !errors.Is(err, pinetree.ErrQueueFull) || end > 300 {
		t.Fatalf("up to %s was taken, %v", end, err)
	}
	c.peer(3).lazy = false
	c.run()
	c.pass(c.options.TickInterval)
	if acked := c.acked(1); acked != end-10 {
		t.Errorf("with its engine again, acknowledged up to %s of %s", acked, end-10)
	}
}

// What an earlier leader left is committed only with an entry of the next one,
// which must get through.
func TestANewLeaderCommitsWhatAFollowerHasMuchOf(t *testing.T) {
	c := newLedCluster(t, lagging())
	c.peer(3).replica.lag = lag.New(lag.Limits{MaxBytes: 100 << 10, MaxNodeBytes: 1 << 30}, nil)
	c.held = "MsgAppResp" // nobody tells the leader that it has it
	for end := pinetree.LSN(0); end < 70; end += 10 {
		c.must(c.offerLarge(1, end))
	}
	c.wire = nil
	c.isolate(1, true)
	c.held = ""
	c.lead(2, 2)
	c.run()
	c.pass(c.options.TickInterval)
	if got := c.peer(3).engine.Position().Volumes[theVolume].LSN; got != 70 {
		t.Errorf("a follower has replayed up to %s of 70: %q", got, c.story)
	}
}
