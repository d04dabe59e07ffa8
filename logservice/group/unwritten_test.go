package group

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

// stored is the commit index in a peer's log.
func (p *peer) stored() uint64 {
	p.c.t.Helper()
	hard, err := p.log.View(theGroup).HardState()
	p.c.must(err)
	return hard.GetCommit()
}

// TestACommitIndexIsWrittenWithTheNextEntries looks into the logs: of each batch
// they have one write, and of the last one its commit index after a while.
func TestACommitIndexIsWrittenWithTheNextEntries(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.pass(time.Second)
	before := c.peer(1).stored()
	for lsn := pinetree.LSN(0); lsn < 50; lsn += 10 {
		c.must(c.offerSpan(1, pinetree.Record{Prev: lsn, LSN: lsn + 10}))
		c.run()
		if got := c.acked(1); got != lsn+10 {
			t.Fatalf("acknowledged up to %d, want %d", got, lsn+10)
		}
		for _, p := range c.peers {
			if got, want := p.stored(), before+uint64(lsn/10); got != want {
				t.Errorf("with LSN %d node %d has written commit index %d, want %d", lsn+10, p.id, got, want)
			}
			if at := p.engine.Position().Volumes[theVolume].LSN; at != lsn+10 {
				t.Errorf("node %d has replayed LSN %d, want %d", p.id, at, lsn+10)
			}
		}
	}
	c.pass(time.Second)
	for _, p := range c.peers {
		if got, want := p.stored(), before+5; got != want {
			t.Errorf("after a while node %d has written commit index %d, want %d", p.id, got, want)
		}
	}
}

// TestACommitIndexThatWasNotWrittenIsLearntAgain crashes all nodes, which keep
// their entries and lose what they knew of commits, as after a loss of power.
func TestACommitIndexThatWasNotWrittenIsLearntAgain(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
	c.run()
	if c.acked(1) != 10 {
		t.Fatal("not acknowledged")
	}
	for _, p := range c.peers {
		p.crash(0)
		c.must(p.start())
	}
	c.lead(2, 2)
	c.run()
	for _, p := range c.peers {
		if at := p.engine.Position().Volumes[theVolume].LSN; at != 10 {
			t.Errorf("node %d has replayed LSN %d, want 10", p.id, at)
		}
	}
}

// TestNoAnswerOvertakesTheDisk has a follower told of a commit while its disk hangs
// with entries: what it answers comes after those.
func TestNoAnswerOvertakesTheDisk(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	follower := c.peer(2)
	follower.diskHung = true
	c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
	c.run() // committed with the third
	c.held = raftpb.MsgAppResp.String()
	c.must(c.offerSpan(1, pinetree.Record{Prev: 10, LSN: 20}))
	c.pass(c.options.TickInterval)
	for _, m := range c.take(letter{from: 2, kind: raftpb.MsgAppResp.String()}) {
		t.Errorf("an answer of a follower whose disk hangs: %v", m)
	}
	follower.diskHung = false
	c.run()
	if len(c.take(letter{from: 2, kind: raftpb.MsgAppResp.String()})) == 0 {
		t.Error("no answer after the disk")
	}
}
