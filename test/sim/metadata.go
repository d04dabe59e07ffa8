package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// scribe carries out transactions on the metadata of a volume, now and then the same
// one at another leader. Each puts a key of its own, so in the end each that was
// acknowledged must have done so, and none twice.
type scribe struct {
	w      *World
	volume *volume
	random *rand.Rand
	sent   int
	acked  map[int]bool
}

const (
	scribePace = 150 * time.Millisecond
	// scribeTime leaves the rest of a run to those who wait for leaders to go quiet.
	scribeTime = troubleTime / 2
)

func (w *World) beginMeta() {
	for _, v := range w.volumes {
		s := &scribe{w: w, volume: v, random: rand.New(rand.NewPCG(w.cfg.Seed, uint64(v.id))), acked: map[int]bool{}}
		w.scribes = append(w.scribes, s)
		w.every(scribePace, s.tick)
	}
}

// tick proposes to all who believe to lead.
func (s *scribe) tick() {
	if !s.volume.created || s.w.now > scribeTime {
		return
	}
	n := s.sent
	if n > 0 && s.random.IntN(3) == 0 {
		n = s.random.IntN(n)
		s.w.mark(MetaTwice)
	} else {
		s.sent++
	}
	c := storepb.StoreMetaTxn(s.volume.id, s.txn(n), 0)
	to := pinetree.MetaRevision(s.random.IntN(s.sent))
	if s.random.IntN(8) == 0 {
		c = storepb.StoreMetaCompact(s.volume.id, to)
		n = -1
	}
	for _, node := range s.w.nodes {
		if m := node.member(s.volume.group); m != nil && node.up && m.view.Leads {
			node.post(s.volume.group, func(r *group.Replica) {
				r.Control(c, func(err error) {
					if err == nil && n >= 0 {
						s.acked[n] = true
					}
				})
			})
		}
	}
}

func metaKey(n int) []byte { return fmt.Appendf(nil, "%06d", n) }

func (s *scribe) txn(n int) meta.Txn {
	put := func(key []byte) meta.Op {
		return meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: key}, Value: metaKey(n)}
	}
	x := meta.Txn{ID: metaKey(n), Then: []meta.Op{put(metaKey(n)), put([]byte("shared"))}}
	if n%3 == 0 {
		x.Compares = []meta.Compare{{Key: []byte("shared"), Target: meta.TargetVersion, Relation: meta.Greater, Number: 2}}
		x.Otherwise = []meta.Op{put(metaKey(n)), {Kind: meta.OpDelete, Span: meta.Span{Key: []byte("shared")}}}
	}
	return x
}

// check compares the replicas, and what was acknowledged with what is there.
func (s *scribe) check() {
	w, v := s.w, s.volume
	var first []byte
	for i, m := range w.seats(v.group) {
		table, err := m.engine.Meta(v.id)
		if err != nil {
			w.fail("%s: %w", m.node.name, err)
			return
		}
		stored, err := engine.Metadata{v.id: table}.Append(nil)
		if err != nil {
			w.fail("%s: metadata of volume %d: %w", m.node.name, v.id, err)
			return
		}
		if i == 0 {
			first = stored
		}
		if string(stored) != string(first) {
			w.fail("volume %d: the metadata on %s differs from the first one's", v.id, m.node.name)
		}
		for n := range s.sent {
			read, err := table.Range(meta.RangeSpec{Span: meta.Span{Key: metaKey(n)}})
			switch {
			case err != nil:
				w.fail("%s: metadata of volume %d: %w", m.node.name, v.id, err)
			case len(read.Items) == 0 && s.acked[n]:
				w.fail("volume %d: transaction %d was acknowledged and is not on %s", v.id, n, m.node.name)
			case len(read.Items) > 0 && read.Items[0].Version != 1:
				w.fail("volume %d: transaction %d was carried out %d times", v.id, n, read.Items[0].Version)
			}
		}
	}
	if len(s.acked) > 0 {
		w.mark(MetaWritten)
	}
}
