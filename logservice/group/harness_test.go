package group

import (
	"fmt"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/logservice/manifest"
	"github.com/pinetree-db/pinetree/logservice/membership"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

// newPeer adds a node with an empty disk.
func (c *cluster) newPeer() *peer {
	p := &peer{c: c, id: pinetree.NodeID(len(c.peers) + 1), log: memlog.New(), engines: memengine.New(memengine.Options{})}
	c.peers = append(c.peers, p)
	return p
}

// blank gives a node a replica that waits for its first state.
func (p *peer) blank() *peer {
	p.c.must(p.engines.Create(theGroup, pinetree.Position{}))
	p.c.must(p.start())
	return p
}

// wipe takes all that a node had, and gives it a blank replica under its old id.
func (p *peer) wipe() *peer {
	p.crash(0)
	p.log, p.engines = memlog.New(), memengine.New(memengine.Options{})
	return p.blank()
}

// carryAll carries the snapshots that were ordered, except over cut links, where
// they fail.
func (c *cluster) carryAll() bool {
	orders := c.orders
	c.orders = nil
	for _, o := range orders {
		c.carry(o)
	}
	return len(orders) > 0
}

// carry sends a snapshot and lets its sender hear of the end.
func (c *cluster) carry(o SnapshotOrder) {
	from := c.peer(int(o.Message.GetFrom()))
	c.transfer(o, func(err error) {
		c.say("snapshot for node %d: %s", o.To, outcome(err, "arrived"))
		from.do(func(r *Replica) { r.ReportSnapshot(o, err == nil) })
	})
}

// transfer brings the state to the receiver and gives it the message.
func (c *cluster) transfer(o SnapshotOrder, done func(error)) {
	if int(o.To) > len(c.peers) {
		done(fmt.Errorf("there is no node %d", o.To))
		return
	}
	from, to := c.peer(int(o.Message.GetFrom())), c.peer(int(o.To))
	if from.replica == nil || to.replica == nil || c.cut[[2]pinetree.NodeID{from.id, to.id}] {
		done(fmt.Errorf("node %d cannot be reached", o.To))
		return
	}
	snapshot, err := from.engines.Snapshot(theGroup)
	c.must(err)
	m, err := manifest.Rebase(o.Message, snapshot.Position())
	if err != nil {
		done(err)
		return
	}
	at, err := manifest.Position(m)
	c.must(err)
	restore, err := to.engines.Restore(theGroup, at)
	c.must(err)
	c.must(snapshot.Chunks(restore.Write))
	to.arrived = restore
	to.do(func(r *Replica) {
		r.TakeSnapshot(m, func(err error) {
			if to.arrived == restore {
				to.arrived = nil
				c.must(restore.Close())
			}
			done(err)
		})
	})
}

// takeOver has the engine take over what arrived, after all that was committed.
func (p *peer) takeOver() {
	for p.apply() {
	}
	restore := p.arrived
	p.arrived = nil
	p.c.must(restore.Commit())
	p.c.must(restore.Close())
}

// compact drops the log of a node as its host would, but for the last few
// entries.
func (p *peer) compact(keep pinetree.RaftIndex) {
	flushed, err := p.engine.Flush()
	p.c.must(err)
	to := min(flushed.Index, p.replica.Floor())
	if to > keep {
		p.c.must(p.log.Compact(theGroup, to-keep))
	}
}

// first is the first index of a node's log.
func (p *peer) first() pinetree.RaftIndex {
	first, err := p.log.View(theGroup).FirstIndex()
	p.c.must(err)
	return pinetree.RaftIndex(first)
}

// change asks a node for a change of members; the answer goes into the story.
func (c *cluster) change(id int, change membership.Change) {
	c.peer(id).do(func(r *Replica) {
		r.ChangeMembership(change, func(m membership.Members, err error) {
			c.say("change %s: %s", change, outcome(err, fmt.Sprintf("voters %v, learners %v", m.Voters, m.Learners)))
		})
	})
}

// mustChange makes a change and wants it done.
func (c *cluster) mustChange(id int, change membership.Change) {
	c.t.Helper()
	c.story = nil
	c.change(id, change)
	c.run()
	if !c.told("change " + change.String() + ": voters") {
		c.t.Fatalf("not done: %q", c.story)
	}
}

// grow adds a node, as a learner that has the group's state.
func (c *cluster) grow(leader int) *peer {
	c.t.Helper()
	p := c.newPeer().blank()
	c.mustChange(leader, add(int(p.id)))
	c.pass(c.options.TickInterval)
	if p.engine.Position().Index == 0 {
		c.t.Fatalf("node %d got no state: %q", p.id, c.story)
	}
	return p
}

func ids(list ...int) []pinetree.NodeID {
	var ids []pinetree.NodeID
	for _, id := range list {
		ids = append(ids, pinetree.NodeID(id))
	}
	return ids
}

func add(list ...int) membership.Change     { return membership.Change{Add: ids(list...)} }
func promote(list ...int) membership.Change { return membership.Change{Promote: ids(list...)} }
func remove(list ...int) membership.Change  { return membership.Change{Remove: ids(list...)} }

// write ships so many batches and wants them acknowledged.
func (c *cluster) write(leader, batches int) {
	c.t.Helper()
	at := c.acked(leader)
	for range batches {
		c.must(c.offerSpan(leader, pinetree.Record{Prev: at, LSN: at + 10}))
		at += 10
		c.run() // each is an entry of its own
	}
	if got := c.acked(leader); got != at {
		c.t.Fatalf("acknowledged up to %d of %d", got, at)
	}
}

// member is what a leader says of a member.
func (c *cluster) member(leader, id int) Member {
	c.t.Helper()
	s, err := c.peer(leader).replica.Status()
	c.must(err)
	i := slices.IndexFunc(s.Members, func(m Member) bool { return m.Node == pinetree.NodeID(id) })
	if i < 0 {
		c.t.Fatalf("node %d is not in %+v", id, s.Members)
	}
	return s.Members[i]
}

// equal wants two nodes to have replayed the same.
func (c *cluster) equal(a, b int) {
	c.t.Helper()
	x, y := c.peer(a).engine.Position(), c.peer(b).engine.Position()
	if x.Index != y.Index || x.Volumes[theVolume].LSN != y.Volumes[theVolume].LSN {
		c.t.Fatalf("node %d is at %d, %s; node %d at %d, %s", a, x.Index, x.Volumes[theVolume].LSN, b, y.Index, y.Volumes[theVolume].LSN)
	}
}

// cutOff isolates a node long enough to count as inactive, while the others
// write.
func (c *cluster) cutOff(id, leader, batches int) {
	c.t.Helper()
	c.isolate(id, true)
	c.write(leader, batches)
	c.pass(c.options.InactiveAfter + time.Second)
}

func fence(term pinetree.ComputeTerm) adapter.Fence { return adapter.Fence{Term: term} }
