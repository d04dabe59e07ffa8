package raftlogtest

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

// generator makes calls that a store may get, by chance, from what a model of
// the store holds.
type generator struct {
	random *rand.Rand
	groups int
	term   pinetree.RaftTerm // rises, so that no two entries are alike
}

func newGenerator(seed uint64) *generator {
	return &generator{random: rand.New(rand.NewPCG(seed, 0)), groups: 4, term: 1}
}

// call is one call of a Store: Save of updates, or else Compact, Remove or
// Probe.
type call struct {
	updates []raftlog.Update
	group   pinetree.GroupID
	compact pinetree.RaftIndex // zero for none
	remove  bool
}

func (c call) make(s raftlog.Store) error {
	switch {
	case len(c.updates) > 0:
		return s.Save(c.updates)
	case c.compact > 0:
		return s.Compact(c.group, c.compact)
	case c.remove:
		return s.Remove(c.group)
	}
	return s.Probe()
}

// String is for messages of tests.
func (c call) String() string {
	var b bytes.Buffer
	switch {
	case len(c.updates) > 0:
		for _, u := range c.updates {
			fmt.Fprintf(&b, "Save(group %d", u.Group)
			if u.Restart != nil {
				fmt.Fprintf(&b, " restart %v", *u.Restart)
			}
			if u.HardState != nil {
				fmt.Fprintf(&b, " hard state %v", u.HardState)
			}
			if n := len(u.Entries); n > 0 {
				fmt.Fprintf(&b, " entries %d-%d of term %d", u.Entries[0].GetIndex(), u.Entries[n-1].GetIndex(), u.Entries[0].GetTerm())
			}
			fmt.Fprintf(&b, " sync %v) ", u.MustSync)
		}
	case c.compact > 0:
		fmt.Fprintf(&b, "Compact(%d, %d)", c.group, c.compact)
	case c.remove:
		fmt.Fprintf(&b, "Remove(%d)", c.group)
	default:
		b.WriteString("Probe()")
	}
	return b.String()
}

func (g *generator) group() pinetree.GroupID {
	return pinetree.GroupID(1 + g.random.IntN(g.groups))
}

// next makes a call that fits what the model holds.
func (g *generator) next(model raftlog.Store) call {
	switch n := g.random.IntN(100); {
	case n < 80:
		c := call{}
		ahead := map[pinetree.GroupID]span{}
		for range 1 + g.random.IntN(3) {
			c.updates = append(c.updates, g.update(model, ahead))
		}
		return c
	case n < 95:
		group := g.group()
		first, _ := model.View(group).FirstIndex()
		last, _ := model.View(group).LastIndex()
		if last < first {
			return call{}
		}
		return call{group: group, compact: pinetree.RaftIndex(first + g.random.Uint64N(last-first+1))}
	case n < 97:
		return call{group: g.group(), remove: true}
	}
	return call{}
}

// update makes one update. Ahead are the indexes of the logs that earlier
// updates of the same call have changed.
func (g *generator) update(model raftlog.Store, ahead map[pinetree.GroupID]span) raftlog.Update {
	u := raftlog.Update{Group: g.group(), MustSync: g.random.IntN(3) == 0}
	first, _ := model.View(u.Group).FirstIndex()
	last, _ := model.View(u.Group).LastIndex()
	if s, ok := ahead[u.Group]; ok {
		first, last = s.lo, s.hi-1
	}
	g.term++
	if g.random.IntN(25) == 0 {
		u.Restart = &raftlog.Point{Index: pinetree.RaftIndex(g.random.Uint64N(last + 20)), Term: g.term}
		first, last = uint64(u.Restart.Index)+1, uint64(u.Restart.Index)
	}
	if g.random.IntN(3) > 0 {
		at := last + 1
		if g.random.IntN(6) == 0 && last >= first {
			at = first + g.random.Uint64N(last-first+1)
		}
		u.Entries = entries(g.term, span{at, at + 1 + g.random.Uint64N(4)})
		for _, e := range u.Entries {
			padding := g.random.IntN(100)
			if g.random.IntN(10) == 0 {
				padding += 1500 // several sectors
			}
			// Half of them zeroes, as a database's pages have them.
			e.Data = append(e.Data, bytes.Repeat([]byte{byte(g.random.Uint32()) * byte(g.random.IntN(2))}, padding)...)
		}
		last = u.Entries[len(u.Entries)-1].GetIndex()
		if last%2 == 0 {
			u.Sums = sums(u.Entries)
		}
	}
	if g.random.IntN(3) == 0 {
		u.HardState = makeHardState(g.term, pinetree.NodeID(g.random.IntN(3)), pinetree.RaftIndex(last))
	}
	ahead[u.Group] = span{first, last + 1}
	return u
}

// sums are the checksums that a caller may know of its entries.
func sums(entries []*raftpb.Entry) []uint32 {
	known := make([]uint32, len(entries))
	for i, e := range entries {
		known[i] = crc32.Checksum(e.Data, storepb.Castagnoli)
	}
	return known
}

// compare tells where a store's contents are not the model's, or "".
func compare(store, model raftlog.Store) string {
	if got, want := store.Groups(), model.Groups(); !slices.Equal(got, want) {
		return fmt.Sprintf("Groups are %v, want %v", got, want)
	}
	for _, group := range model.Groups() {
		want, err := readLog(model.View(group))
		if err != nil {
			return fmt.Sprintf("the model's group %d: %v", group, err)
		}
		got, err := readLog(store.View(group))
		if err != nil {
			return fmt.Sprintf("group %d: %v", group, err)
		}
		if d := got.diff(want); d != "" {
			return fmt.Sprintf("group %d: %s", group, d)
		}
	}
	return ""
}

func differential(p *place) {
	for seed := range uint64(15) {
		for _, group := range p.store.Groups() {
			if err := p.store.Remove(group); err != nil {
				p.Fatal(err)
			}
		}
		g, model := newGenerator(seed), memlog.New()
		for i := range 150 {
			c := g.next(model)
			if err := c.make(model); err != nil {
				p.Fatalf("seed %d: the model refuses %s: %v", seed, c, err)
			}
			if err := c.make(p.store); err != nil {
				p.Fatalf("seed %d call %d: %s: %v", seed, i, c, err)
			}
			if g.random.IntN(20) == 0 {
				p.reopen()
			}
			if d := compare(p.store, model); d != "" {
				p.Fatalf("seed %d, after call %d, %s: %s", seed, i, c, d)
			}
		}
	}
}

// concurrent has readers check that whatever a View shows hangs together and
// never falls back, while one writer saves and compacts.
func concurrent(p *place) {
	const groups, saves = 3, 150
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for group := pinetree.GroupID(1); group <= groups; group++ {
		readers.Go(func() {
			v, highest := p.store.View(group), uint64(0)
			for {
				last, err := v.LastIndex()
				if err != nil || last < highest {
					p.Errorf("group %d: LastIndex is %d, %v, after it was %d", group, last, err, highest)
					return
				}
				highest = last
				first, err := v.FirstIndex()
				if err != nil {
					p.Errorf("group %d: FirstIndex: %v", group, err)
					return
				}
				if !readRange(p, v, span{first, last + 1}) {
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := uint64(1); i <= saves; i++ {
		var updates []raftlog.Update
		for group := pinetree.GroupID(1); group <= groups; group++ {
			updates = append(updates, raftlog.Update{
				Group: group, Entries: entries(1, span{3*i - 2, 3*i + 1}), HardState: makeHardState(1, 1, pinetree.RaftIndex(i)), MustSync: i%10 == 0,
			})
		}
		p.save(updates...)
		if i%20 == 0 {
			if err := p.store.Compact(2, pinetree.RaftIndex(3*i-30)); err != nil {
				p.Fatal(err)
			}
		}
	}
	close(stop)
	readers.Wait()
}

// readRange reads entries that were there a moment ago; compaction is the only
// thing that may have happened to them.
func readRange(p *place, v raftlog.View, s span) bool {
	got, err := v.Entries(s.lo, s.hi, 2000)
	if err == raftlog.ErrCompacted {
		return true
	}
	if err != nil || len(got) == 0 && s.hi > s.lo {
		p.Errorf("Entries(%d, %d): %d entries, %v", s.lo, s.hi, len(got), err)
		return false
	}
	for i, e := range got {
		if want := entry(1, s.lo+uint64(i)); toLogEntry(e) != toLogEntry(want) {
			p.Errorf("Entries(%d, %d): entry %d is %v, want %v", s.lo, s.hi, i, e, want)
			return false
		}
	}
	_, _ = v.Term(s.lo)
	_, _ = v.HardState()
	return true
}
