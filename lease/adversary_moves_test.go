package lease

import (
	"flag"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

var (
	seedFlag  = flag.Uint64("lease.seed", 0, "run the adversary with this seed only")
	seedsFlag = flag.Uint64("lease.seeds", 600, "run the adversary with so many seeds")
)

// decide is the manager's will: failovers, moves with release, and taking back.
func (w *world) decide() {
	w.after(100*time.Millisecond+w.upTo(1500*time.Millisecond), w.decide)
	m := w.manager
	if m.paused > w.now || m.clock.read(w.now) >= m.claimed {
		return
	}
	r := m.granter.Record()
	to := w.nodes[w.random.IntN(len(w.nodes))]
	from := w.nodes[max(r.Holder, 1)-1]
	old := r.Held
	r.Appointment, r.Node = r.Appointment+1, to.id
	move := w.chance(50)
	w.swap(m, r, func() {
		w.deliver(&to.process, func() { w.appoint(to, r.Appointment, move) })
		if !move {
			return
		}
		if w.defect == releaseUnasked {
			m.granter.Release(from.id, old)
		}
		w.deliver(&from.process, func() { w.release(m, from, old) })
	})
}

// appoint makes the node campaign, or wait for the transfer.
func (w *world) appoint(n *fakeNode, id pinetree.AppointmentID, wait bool) {
	if n.holder.Appoint(id) != nil {
		w.marks["appointment refused"]++
		return
	}
	delay := w.upTo(20 * time.Millisecond)
	if wait {
		delay = w.upTo(100 * time.Millisecond)
	}
	life := n.life
	w.after(delay, func() { w.arrive(&n.process, life, func() { w.elect(n) }) })
}

// release is the old leader's side of a move. Its answer may be lost.
func (w *world) release(m *fakeManager, n *fakeNode, id pinetree.AppointmentID) {
	if w.defect == noReleaseFence {
		appointment := n.holder.Appointment()
		n.holder = NewHolder(w.drift())
		_ = n.holder.Appoint(appointment)
	} else {
		n.holder.Release(id)
	}
	w.deliver(&m.process, func() {
		m.granter.Release(n.id, id)
		if m.granter.Left(m.clock.read(w.now)) == 0 {
			w.marks["release ended the wait"]++
		}
	})
}

// elect gives the node a new raft term. The others learn of it late.
func (w *world) elect(n *fakeNode) {
	w.term++
	n.leads = w.term
	term := w.term
	for _, other := range w.nodes {
		if other != n {
			w.after(w.upTo(3*time.Second), func() {
				if other.leads < term {
					other.leads = 0
				}
			})
		}
	}
}

// mischief stops, crashes and restarts processes, lets leaders come up that
// nobody asked for, changes clock rates and replaces managers.
func (w *world) mischief() {
	w.after(w.upTo(400*time.Millisecond), w.mischief)
	n := w.nodes[w.random.IntN(len(w.nodes))]
	switch w.random.IntN(8) {
	case 0:
		n.paused = w.now + int64(w.upTo(1500*time.Millisecond))
	case 1:
		w.manager.paused = w.now + int64(w.upTo(1500*time.Millisecond))
	case 2:
		n.life++
		n.down, n.leads, n.holder = true, 0, NewHolder(w.drift())
		w.after(w.upTo(2*time.Second), func() { n.down = false })
	case 3:
		if !n.down {
			w.marks["leader nobody asked for"]++
			w.elect(n)
		}
	case 4:
		n.clock.setRate(w.now, w.rate())
	case 5:
		w.manager.clock.setRate(w.now, w.rate())
	case 6:
		n.holder.Release(n.holder.Appointment()) // of its own accord
	case 7:
		if w.chance(40) {
			if w.chance(50) { // crashed; otherwise it lives on as a zombie
				w.manager.life++
				w.manager.down = true
			}
			w.takeOffice()
			w.marks["manager replaced"]++
		}
	}
}

const adversaryLength = 60 * time.Second

func TestAtMostOneNodeBelievesToHoldTheLease(t *testing.T) {
	seeds := *seedsFlag
	if testing.Short() {
		seeds = min(seeds, 60)
	}
	marks := map[string]int{}
	for seed := uint64(1); seed <= seeds; seed++ {
		if *seedFlag != 0 && seed != *seedFlag {
			continue
		}
		w := newWorld(seed, noDefect)
		if failure := w.run(adversaryLength); failure != "" {
			t.Fatalf("seed %d: %s\nrepeat: go test ./lease -run %s -lease.seed %d -lease.seeds %d", seed, failure, t.Name(), seed, seed)
		}
		for mark, n := range w.marks {
			marks[mark] += n
		}
	}
	if *seedFlag != 0 {
		return
	}
	for _, mark := range []string{
		"message lost", "message to a dead process", "lease taken", "lease renewed", "activated",
		"grant refused by the holder", "grant after release refused", "office in doubt, no grant",
		"write of a former manager refused", "appointment refused", "release ended the wait",
		"leader nobody asked for", "manager replaced",
		Granted.String(), RecordFirst.String(), Superseded.String(), WasReleased.String(), OldTerm.String(), HeldElsewhere.String(),
	} {
		if marks[mark] == 0 {
			t.Errorf("%q never happened in %d seeds: the adversary proves nothing about it", mark, seeds)
		}
	}
	t.Logf("%v", marks)
}

func TestTheAdversaryCatchesEveryDefect(t *testing.T) {
	for d := countFromReceipt; d <= releaseUnasked; d++ {
		t.Run(d.String(), func(t *testing.T) {
			for seed := uint64(1); seed <= 4000; seed++ {
				if failure := newWorld(seed, d).run(adversaryLength); failure != "" {
					t.Logf("seed %d: %s", seed, failure)
					return
				}
			}
			t.Fatal("not caught in 4,000 seeds")
		})
	}
}
