package lsm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/pages"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// cuts is a log of changes to few pages, which is replayed again and again after
// crashes, each time cut into other writes.
type cuts struct {
	t       *testing.T
	random  *rand.Rand
	batches []pinetree.Batch
	ops     []layout.Change // all of them, in order
	count   uint64
}

// newCuts makes a log of so many batches. Some records are larger than a value
// may be, some than a chunk, and some change a page more than once.
func newCuts(t *testing.T, seed, count uint64, batches int) *cuts {
	c := &cuts{t: t, random: rand.New(rand.NewPCG(seed, 1)), count: count}
	lsn := pinetree.LSN(0)
	for range batches {
		var records []pinetree.Record
		for range 1 + c.random.IntN(6) {
			next := lsn + 1 + pinetree.LSN(c.random.IntN(3))
			redo := &storepb.Redo{}
			for range 1 + c.random.IntN(3) {
				op := c.op()
				c.ops = append(c.ops, layout.Change{LSN: next, Op: op})
				encoded := &storepb.RedoOp{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: uint64(op.Page), Offset: uint32(op.Offset), Bytes: op.Data}}}
				if op.Kind == engine.PageImage {
					encoded.Op = &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: uint64(op.Page), Image: op.Data}}
				}
				redo.Ops = append(redo.Ops, encoded)
			}
			payload, err := proto.Marshal(redo)
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, pinetree.Record{Prev: lsn, LSN: next, Payload: payload})
			lsn = next
		}
		b, err := storepb.EncodeBatch(1, 1, records)
		if err != nil {
			t.Fatal(err)
		}
		c.batches = append(c.batches, b)
	}
	return c
}

func (c *cuts) op() engine.Op {
	op := engine.Op{Kind: engine.PagePatch, Page: pinetree.PageNo(c.random.Uint64N(c.count)), Offset: c.random.IntN(3000)}
	size := 1 + c.random.IntN(100)
	switch c.random.IntN(200) {
	case 0:
		size = layout.MaxChunkBytes + c.random.IntN(100_000)
	case 1:
		size = pages.MaxValueBytes + c.random.IntN(10_000)
	case 2, 3:
		size = 1 + c.random.IntN(9000)
	case 4, 5:
		op.Kind, op.Offset = engine.PageImage, 0
	}
	op.Data = bytes.Repeat([]byte{byte(c.random.Uint32())}, size)
	op.Data[0] = byte(c.random.Uint32())
	return op
}

// apply replays the batches from one on, cut at random, up to another.
func (c *cuts) apply(g *group, from, to int) {
	c.t.Helper()
	for from < to {
		end := min(to, from+1+c.random.IntN(1+c.random.IntN(40)))
		err := g.Apply(engine.Write{Batches: c.batches[from:end], Position: pinetree.Position{
			Index:   pinetree.RaftIndex(end),
			Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: c.batches[end-1].LSN, Format: pinetree.FormatRedo}},
		}})
		if err != nil {
			c.t.Fatal(err)
		}
		from = end
	}
}

// page is a page as of an LSN, by all changes one after the other.
func (c *cuts) page(page pinetree.PageNo, at pinetree.LSN) (image []byte, last pinetree.LSN) {
	for _, o := range c.ops {
		if o.LSN <= at && o.Op.Page == page {
			image, last = layout.ReplayPage(image, []layout.Change{o}), o.LSN
		}
	}
	return image, last
}

// check reads pages at LSNs up to the group's own and compares.
func (c *cuts) check(g *group, reads int) error {
	r, err := g.Volume(1)
	if err != nil {
		return err
	}
	end := r.Position().LSN
	for i := range reads {
		page, at := pinetree.PageNo(c.random.Uint64N(c.count)), end
		if i%2 == 1 {
			at = 1 + pinetree.LSN(c.random.Uint64N(uint64(end)))
		}
		want, last := c.page(page, at)
		got, err := r.Page(page, at)
		if last == 0 && errors.Is(err, pinetree.ErrNotFound) {
			continue
		}
		if err != nil || !bytes.Equal(got.Page, want) || got.PageLSN != last {
			return fmt.Errorf("page %d at %s, the group is at %s: %d bytes of %s, %w; want %d bytes of %s", page, at, end, len(got.Page), got.PageLSN, err, len(want), last)
		}
	}
	return nil
}

// crash forgets what was applied since the last flush, but not what was written.
func crash(s *Store, g *group) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := newGroup(s, g.id, g.flushed.Load())
	s.groups[g.id] = again
	return again
}

// TestWritesCutOtherwiseAfterACrashReadTheSame leaves behind values of writes
// that were never flushed, and replays over them in other pieces.
func TestWritesCutOtherwiseAfterACrashReadTheSame(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		for _, seed := range []uint64{1} {
			c := newCuts(t, seed, 1+seed*2, 120)
			s := k.open(t, t.TempDir())
			g := openGroup(t, s)
			at := 0
			for at < len(c.batches) {
				for range c.random.IntN(4) {
					c.apply(g, at, min(len(c.batches), at+1+c.random.IntN(60)))
					g = crash(s, g)
				}
				next := min(len(c.batches), at+1+c.random.IntN(30))
				c.apply(g, at, next)
				at = next
				flush(t, g)
				if err := c.check(g, 60); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			c.restored(k, s)
		}
	})
}

// restored takes a snapshot of the state to another store, where what is left
// of former writes must do no harm either.
func (c *cuts) restored(k kind, from *Store) {
	c.t.Helper()
	snapshot, err := from.Snapshot(1)
	if err != nil {
		c.t.Fatal(err)
	}
	to := k.open(c.t, c.t.TempDir())
	restore, err := to.Restore(1, snapshot.Position())
	if err != nil {
		c.t.Fatal(err)
	}
	defer restore.Close()
	if err := snapshot.Chunks(restore.Write); err != nil {
		c.t.Fatal(err)
	}
	if err := restore.Commit(); err != nil {
		c.t.Fatal(err)
	}
	e, err := to.Open(1)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.check(e.(*group), 50); err != nil {
		c.t.Fatalf("restored: %v", err)
	}
}
