package group

import (
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/membership"
)

func TestALearnerIsAddedPromotedAndLeads(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.write(1, 5)
	c.grow(1)
	c.write(1, 5)
	c.equal(1, 4)
	c.mustChange(1, promote(4))
	// Four voters: with one gone, three of them are a majority.
	c.peer(2).crash(0)
	c.write(1, 2)
	c.peer(3).crash(0)
	c.must(c.peer(2).start())
	c.lead(4, 2)
	if !c.leads(4) {
		t.Fatalf("the new voter does not lead: %q", c.story)
	}
}

func TestALearnerCountsForNothing(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.grow(1)
	c.isolate(2, true)
	c.isolate(3, true)
	c.cut[[2]pinetree.NodeID{1, 4}], c.cut[[2]pinetree.NodeID{4, 1}] = false, false
	c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
	c.read(1, "alone")
	c.pass(5 * time.Second)
	if c.acked(1) != 0 || c.told("read alone: index") {
		t.Fatalf("a learner helped to a quorum: %q", c.story)
	}
	if age := c.peer(1).replica.QuorumAge(); age < 4*time.Second {
		t.Fatalf("a learner's answer counts for the quorum: %v", age)
	}
	c.appoint(4, Appointment{ID: 9})
	c.pass(2 * time.Second)
	if c.leads(4) {
		t.Fatal("a learner leads")
	}
}

func TestTrap16NobodyGetsASnapshotThatDoesNotNameHim(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.write(1, 5)
	c.peer(1).lazy = true // the change is committed and not replayed
	c.newPeer().blank()
	c.change(1, add(4))
	c.pass(20 * c.options.TickInterval)
	if len(c.orders) > 0 || c.told("snapshot for node 4") {
		t.Fatalf("a snapshot was ordered of a state that does not know node 4: %q", c.story)
	}
	c.peer(1).lazy = false
	c.pass(2 * c.options.TickInterval)
	if !c.told("snapshot for node 4: arrived") {
		t.Fatalf("it got none afterwards: %q", c.story)
	}
	c.equal(1, 4)
}

func TestTrap17ASecondChangeIsRefusedAloud(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.peer(1).lazy = true
	c.change(1, add(4))
	c.run()
	c.change(1, add(5))
	if !c.told("change add [5], promote [], remove []: queue full: another change") {
		t.Fatalf("%q", c.story)
	}
	c.peer(1).lazy = false
	c.run()
	if !c.told("voters [1 2 3], learners [4]") {
		t.Fatalf("the first change: %q", c.story)
	}
	// Raft knows of a change that we do not: it takes an empty entry instead.
	c.story = nil
	c.peer(1).lazy = true
	c.peer(1).do(func(r *Replica) {
		hidden, err := proto.Marshal(&raftpb.ConfChangeV2{Changes: []*raftpb.ConfChangeSingle{{Type: raftpb.ConfChangeAddLearnerNode.Enum(), NodeId: proto.Uint64(6)}}})
		c.must(err)
		c.must(r.step([]*raftpb.Entry{{Type: raftpb.EntryConfChangeV2.Enum(), Data: hidden}}))
	})
	c.change(1, add(5))
	if !c.told("raft did not take the change") {
		t.Fatalf("%q", c.story)
	}
	c.peer(1).lazy = false
	c.run()
	if m := c.peer(1).replica.conf.members; !slices.Equal(m.Learners, ids(4, 6)) {
		t.Fatalf("members %+v", m)
	}
}

func TestTrap18ALaggingLearnerIsHelpedByTicks(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.grow(1)
	c.isolate(4, true)
	c.write(1, 300) // more than fit in flight to one member
	c.isolate(4, false)
	c.pass(3 * c.options.TickInterval)
	c.equal(1, 4)
}

func TestAChangeThatIsNoneIsRefused(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	for what, change := range map[string]membership.Change{
		"it changes nothing":         {},
		"a node is named twice":      {Promote: ids(3), Remove: ids(3)},
		"zero is no node":            add(0),
		"node 2 is a member already": add(2),
		"node 4 is no learner":       promote(4),
		"node 3 is no learner":       promote(3),
		"node 4 is no member":        remove(4),
		"no voter would be left":     remove(1, 2, 3),
	} {
		c.story = nil
		c.change(1, change)
		if !c.told(what) {
			t.Errorf("%s: %q", what, c.story)
		}
	}
	c.story = nil
	c.change(2, add(4))
	if !c.told("node 1") || c.peer(1).replica.changing != nil {
		t.Errorf("a follower took a change: %q", c.story)
	}
	c.isolate(2, true)
	c.pass(c.options.SuspectAfter + c.options.TickInterval)
	c.story = nil
	c.change(1, remove(3))
	if !c.told("no majority answers") {
		t.Errorf("a change that would stop the group was taken: %q", c.story)
	}
}

func TestALearnerThatLagsOrIsSilentIsNotPromoted(t *testing.T) {
	o := DefaultOptions()
	o.MaxTransferLag = 500
	c := newLedCluster(t, o)
	c.grow(1)
	c.held = "MsgApp" // it answers heartbeats and gets nothing
	c.isolate(4, true)
	c.held = ""
	c.write(1, 40)
	c.isolate(4, false)
	c.story = nil
	c.cut[[2]pinetree.NodeID{4, 1}] = true
	c.pass(c.options.SuspectAfter + c.options.TickInterval)
	c.change(1, promote(4))
	if !c.told("node 4 does not answer") {
		t.Fatalf("%q", c.story)
	}
	c.cut[[2]pinetree.NodeID{4, 1}] = false
	c.pass(2 * c.options.TickInterval)
	c.isolate(4, true)
	c.write(1, 40)
	c.story = nil
	c.change(1, promote(4))
	if !c.told("node 4 lacks more than 500 bytes") {
		t.Fatalf("%q", c.story)
	}
	c.isolate(4, false)
	c.pass(3 * c.options.TickInterval)
	c.mustChange(1, promote(4))
}

func TestNoChangeDuringATransferAndNoneWithoutActivation(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.held = "MsgTimeoutNow"
	c.peer(1).do(func(r *Replica) {
		r.Transfer(TransferOrder{Appointment: 1, To: 2}, func(TransferResult, error) {})
	})
	c.run()
	c.change(1, add(4))
	if !c.told("handed to node 2") {
		t.Fatalf("%q", c.story)
	}
	c.pass(c.options.MaxPause + c.options.TickInterval)
	c.take(letter{kind: "MsgTimeoutNow"})
	c.held = ""
	c.mustChange(1, add(4))
	c.appoint(2, Appointment{ID: 2})
	c.isolate(1, true)
	c.run()
	c.story = nil
	c.change(2, add(5))
	if !c.told("not the leader") {
		t.Fatalf("a leader that is not activated takes a change: %q", c.story)
	}
}

func TestAReplacementIsOneJointChange(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.grow(1)
	c.mustChange(1, membership.Replace(3, 4))
	for _, id := range []int{1, 2, 4} {
		m := c.peer(id).replica.conf.members
		if !slices.Equal(m.Voters, ids(1, 2, 4)) || m.Joint() || len(m.Learners) > 0 {
			t.Errorf("node %d: %+v", id, m)
		}
	}
	if third := c.peer(3); !Removed(third.view.Stopped) {
		t.Errorf("the removed replica was not told: %v", third.view.Stopped)
	}
	c.peer(3).crash(0)
	c.must(c.peer(3).start())
	c.peer(2).crash(0)
	c.write(1, 3)
}

func TestTheNextLeaderLeavesTheJointMembership(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.grow(1)
	// The leader dies when the joint membership is committed, before it is left.
	c.peer(1).lazy = true
	c.change(1, membership.Replace(3, 4))
	c.run()
	c.peer(1).crash(0)
	c.lead(2, 2)
	c.pass(c.options.CampaignRetry)
	m := c.peer(2).replica.conf.members
	if m.Joint() || !slices.Equal(m.Voters, ids(1, 2, 4)) {
		t.Fatalf("members %+v", m)
	}
}

func TestAJointMembershipIsLeftAfterAnAbortedTransfer(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.grow(1)
	c.peer(1).lazy = true
	c.change(1, membership.Replace(3, 4))
	c.run()
	c.held = "MsgTimeoutNow"
	c.peer(1).do(func(r *Replica) {
		r.Transfer(TransferOrder{Appointment: 1, To: 2, MaxPause: time.Second}, func(TransferResult, error) {})
	})
	c.peer(1).lazy = false
	c.run() // replayed in the middle of the transfer, when raft cannot propose
	if !c.peer(1).replica.conf.members.Joint() {
		t.Fatal("it was left during the transfer; the test shows nothing")
	}
	c.pass(1200 * time.Millisecond)
	c.take(letter{kind: "MsgTimeoutNow"})
	c.pass(2 * c.options.CampaignRetry)
	if m := c.peer(1).replica.conf.members; m.Joint() || !c.told("voters [1 2 4]") {
		t.Fatalf("members %+v: %q", m, c.story)
	}
}

func TestALeaderDoesNotRemoveItself(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.change(1, remove(1))
	if !c.told("node 1 leads group 1 and cannot remove itself") {
		t.Fatalf("%q", c.story)
	}
}

// TestALeaderThatWasToGoStepsDown: it inherits the change that removes it.
func TestALeaderThatWasToGoStepsDown(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.grow(1)
	c.peer(1).lazy = true
	c.change(1, membership.Replace(3, 4))
	c.run()
	c.peer(1).crash(0)
	c.lead(3, 2)
	c.pass(2 * c.options.CampaignRetry)
	if c.leads(3) || !Removed(c.peer(3).view.Stopped) {
		t.Fatalf("it leads: %v, stopped: %v", c.leads(3), c.peer(3).view.Stopped)
	}
	c.lead(4, 3)
	c.open(4, theVolume, fence(2))
	c.run()
	if m := c.peer(4).replica.conf.members; !slices.Equal(m.Voters, ids(1, 2, 4)) || m.Joint() {
		t.Fatalf("members %+v", m)
	}
	if !c.told("open term 2: durable") {
		t.Fatalf("the group does not go on: %q", c.story)
	}
}

// TestARemovedReplicaVotesForThoseWhoDoNotKnow: the leader alone knows that a
// removal is committed, and is lost. Two of the three that are left live.
func TestARemovedReplicaVotesForThoseWhoDoNotKnow(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.grow(1)
	c.mustChange(1, promote(4))
	c.held = "MsgAppResp"
	c.change(1, remove(3))
	c.run()
	answers := c.take(letter{kind: "MsgAppResp"})
	c.held = "MsgApp"
	c.deliver(answers)
	c.run()
	c.deliver(c.take(letter{to: 3, kind: "MsgApp"}))
	c.run()
	if !Removed(c.peer(3).view.Stopped) || c.told("voters [1 2 4]") {
		t.Fatalf("node 3 knows: %v; the change is told to be done: %q", c.peer(3).view.Stopped, c.story)
	}
	c.peer(1).crash(0)
	c.wire, c.held = nil, ""
	c.lead(2, 2)
	c.pass(time.Second)
	if m := c.peer(2).replica.conf.members; !c.leads(2) || !slices.Equal(m.Voters, ids(1, 2, 4)) {
		t.Fatalf("members %+v", m)
	}
	// Done means that the removed one may go for good.
	c.peer(3).crash(0)
	c.open(2, theVolume, fence(2))
	c.run()
	if !c.told("open term 2: durable") {
		t.Fatalf("the group does not go on: %q", c.story)
	}
}

func TestAChangeIsDoneWhenThoseWhoAreLeftKnow(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.grow(1)
	c.mustChange(1, promote(4))
	c.mustChange(1, remove(3))
	c.peer(3).crash(0)
	c.peer(1).crash(0)
	c.lead(2, 2) // with the vote of node 4 alone
}

func TestALeaderThatWasJustDeposedProposesNothing(t *testing.T) {
	for name, act := range map[string]func(*cluster){
		"an opening": func(c *cluster) { c.open(1, theVolume, fence(2)) },
		"a transfer": func(c *cluster) {
			c.peer(1).do(func(r *Replica) { r.Transfer(TransferOrder{Appointment: 1, To: 2}, func(TransferResult, error) {}) })
		},
	} {
		c := newLedCluster(t, DefaultOptions())
		c.must(c.offerSpan(1, pinetree.Record{LSN: 10}))
		c.deliver([]*raftpb.Message{{Type: raftpb.MsgHeartbeat.Enum(), From: proto.Uint64(2), To: proto.Uint64(1), Term: proto.Uint64(9)}})
		act(c) // before the next turn
		c.run()
		if c.told("raft did not take a proposal") || !c.told("node 1 leads no longer") {
			t.Errorf("%s: %q", name, c.story)
		}
	}
}

func TestALostLeadershipLeavesTheChangeToTheNextLeader(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.isolate(1, true)
	c.change(1, add(4))
	c.run()
	c.lead(2, 2)
	c.isolate(1, false)
	c.pass(time.Second)
	if !c.told("change add [4], promote [], remove []: group 1: this node is not the leader") || !c.told("may be made or not") {
		t.Fatalf("%q", c.story)
	}
	c.mustChange(2, add(4))
}

func TestARemovedReplicaThatWasNotToldDoesNoHarm(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.isolate(3, true)
	c.mustChange(1, remove(3))
	c.isolate(3, false)
	term := c.peer(1).role.Term
	c.appoint(3, Appointment{ID: 2}) // by mistake
	c.pass(3 * time.Second)
	if c.leads(3) || !c.leads(1) || c.peer(1).role.Term != term {
		t.Fatal("it disturbs the group that it is not in any more")
	}
}

func TestANodeThatWasRemovedComesBackOnlyUnderAnotherLeader(t *testing.T) {
	c := newLedCluster(t, DefaultOptions())
	c.mustChange(1, remove(3))
	c.peer(3).wipe()
	c.story = nil
	c.change(1, add(3))
	if !c.told("node 3 was removed in raft term") {
		t.Fatalf("%q", c.story)
	}
	// What the former replica said last would be taken for the new one's.
	c.lead(2, 2)
	c.mustChange(2, add(3))
	c.pass(2 * c.options.TickInterval)
	c.equal(2, 3)
	c.mustChange(2, promote(3))
}
