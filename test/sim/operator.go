package sim

import (
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/membership"
)

// operator changes the members of groups: it adds learners on nodes that have no
// replica, promotes them, replaces and removes voters, and replaces members whose
// disk was lost. What it asks for may be refused, lost, or done without its
// knowing.
type operator struct {
	w       *World
	waiting map[pinetree.GroupID]bool // for an answer
}

const (
	operatorAddress address = firstClient + 5
	operatorPace            = 120 * time.Millisecond
	operatorTimeout         = 1500 * time.Millisecond
	mostVoters              = 5
)

func newOperator(w *World) *operator {
	return &operator{w: w, waiting: map[pinetree.GroupID]bool{}}
}

// busy tells whether members must still be replaced.
func (o *operator) busy() bool {
	for i := range o.w.plan.groups {
		t := o.w.truths[groupNumber(i)]
		if len(t.lost) > 0 || t.members.Joint() || o.waiting[groupNumber(i)] {
			return true
		}
	}
	return false
}

func (o *operator) tick() {
	for i := range o.w.plan.groups {
		if g := groupNumber(i); !o.waiting[g] && !o.w.truths[g].members.Joint() {
			o.cleanUp(g)
			o.look(g)
		}
	}
}

// cleanUp removes the files of replicas whose nodes are no members any more.
func (o *operator) cleanUp(g pinetree.GroupID) {
	t := o.w.truths[g]
	if !o.w.knownByAll(g) {
		return // those who do not know may need their votes
	}
	for _, n := range o.w.nodes {
		if m := n.member(g); n.up && m != nil && !m.blank() && !t.members.Has(n.id) && o.w.chance(0.3) {
			o.w.net.call(operatorAddress, &n.peer, func(func(func())) {
				// The order may come late: nobody removes a member's files.
				if m := n.member(g); m != nil && !m.blank() && !o.w.truths[g].members.Has(n.id) {
					n.removeReplica(g)
				}
			})
		}
	}
}

// look decides what to do with a group.
func (o *operator) look(g pinetree.GroupID) {
	w, t := o.w, o.w.truths[g]
	learners := o.sound(t.members.Learners, t)
	for _, id := range t.members.All() {
		n := w.nodes[id-1]
		if t.lost[id] || n.lost || n.up && n.member(g) == nil {
			o.replace(g, id, learners)
			return
		}
	}
	voters := len(t.members.Voters)
	switch {
	case w.calm:
		if voters < w.plan.nodes && len(learners) > 0 {
			o.change(g, membership.Change{Promote: learners[:1]})
		}
	case w.chance(0.6):
	case len(learners) > 0 && w.chance(0.15):
		o.change(g, membership.Change{Remove: learners[:1]})
	case len(learners) > 0 && (voters >= mostVoters || w.chance(0.6)):
		o.change(g, membership.Replace(pick(w, t.members.Voters), learners[0]))
	case len(learners) > 0:
		o.change(g, membership.Change{Promote: learners[:1]})
	case voters > w.plan.nodes && w.chance(0.6):
		o.change(g, membership.Change{Remove: []pinetree.NodeID{pick(w, t.members.Voters)}})
	default:
		o.add(g)
	}
}

// sound are the nodes of a list whose disks were not lost.
func (o *operator) sound(ids []pinetree.NodeID, t *truth) []pinetree.NodeID {
	var list []pinetree.NodeID
	for _, id := range ids {
		if !t.lost[id] {
			list = append(list, id)
		}
	}
	return list
}

// replace takes a member whose disk was lost out of the group, for a learner if
// there is one.
func (o *operator) replace(g pinetree.GroupID, lost pinetree.NodeID, learners []pinetree.NodeID) {
	t := o.w.truths[g]
	switch {
	case t.members.Learns(lost) || o.w.chance(0.3):
		o.change(g, membership.Change{Remove: []pinetree.NodeID{lost}})
	case len(learners) > 0:
		o.change(g, membership.Replace(lost, learners[0]))
	default:
		o.add(g)
	}
}

// add makes a blank replica on a node that has none, and then a learner of it.
func (o *operator) add(g pinetree.GroupID) {
	w, t := o.w, o.w.truths[g]
	var free []*node
	for _, n := range w.nodes {
		if m := n.member(g); n.up && !t.members.Has(n.id) && (m == nil || m.blank()) {
			free = append(free, n)
		}
	}
	if len(free) == 0 {
		return
	}
	n := pick(w, free)
	w.net.call(operatorAddress, &n.peer, func(answer func(func())) {
		if !w.truths[g].members.Has(n.id) && n.createBlank(g) {
			answer(func() { o.change(g, membership.Change{Add: []pinetree.NodeID{n.id}}) })
		}
	})
}

// change asks the leader for a change and waits for the answer, for a time.
func (o *operator) change(g pinetree.GroupID, c membership.Change) {
	w := o.w
	n := w.leader(g)
	if n == nil || o.waiting[g] {
		return
	}
	o.waiting[g] = true
	over := false
	end := func() {
		if !over {
			over = true
			o.waiting[g] = false
		}
	}
	w.after(operatorTimeout, end)
	w.net.call(operatorAddress, &n.peer, func(answer func(func())) {
		n.post(g, func(r *group.Replica) {
			r.ChangeMembership(c, func(_ membership.Members, err error) {
				if err == nil {
					w.mark(MembersChanged)
					w.note("operator", "changed the members of group", uint64(g))
					if len(c.Promote) > 0 && len(c.Remove) > 0 {
						w.mark(Replaced)
					}
				} else {
					w.mark(ChangeRefused)
				}
				answer(end)
			})
		})
	})
}

// loseDisk takes everything that a node had, unless another member of one of its
// groups has lost everything already. The node comes back with nothing under its
// old id, by mistake, or not at all.
func (w *World) loseDisk() {
	n := pick(w, w.nodes)
	if n.lost {
		return
	}
	for i := range w.plan.groups {
		g := groupNumber(i)
		t := w.truths[g]
		if t.members.Has(n.id) && (len(t.lost) > 0 || t.members.Joint() || w.operator.waiting[g] || len(t.members.Voters) < 3 || !w.known(g)) {
			return
		}
	}
	w.mark(DiskLost)
	w.note(n.name, "loses its disk")
	n.crash(true)
	n.wipe()
	back := w.chance(0.7)
	for i := range w.plan.groups {
		g := groupNumber(i)
		if t := w.truths[g]; t.members.Has(n.id) {
			t.lost[n.id] = true
			if back {
				n.mistake(g)
			}
		}
	}
	n.lost = !back
	if back {
		n.restartIn(w.span(between{10 * time.Millisecond, time.Second}))
	}
}
