package lsm

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/lsm/layout"
	"github.com/pinetree-db/pinetree/engine/lsm/sorted"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// TestALongChainIsShortenedWhenItIsRead makes a chain of patches none of which
// is chosen to be kept as an image, in batches of one record and of several,
// and reads all its LSNs until no read meets a long chain. What they read does
// not change.
func TestALongChainIsShortenedWhenItIsRead(t *testing.T) { onEach(t, testALongChainIsShortened) }

func testALongChainIsShortened(t *testing.T, k kind) {
	dir := t.TempDir()
	s := k.open(t, dir)
	g := openGroup(t, s)
	pages := unlucky(t, g, 1500)
	flush(t, g)
	r, err := g.Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	before := longest(t, r.(*reader), pages)
	if before < 1500 {
		t.Fatalf("the longest chain has %d changes, the test wants them all", before)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		for lsn, want := range pages {
			if read, err := r.Page(1, lsn); err != nil || !bytes.Equal(read.Page, want) || read.PageLSN != lsn {
				t.Fatalf("page at %s: %x of %s, %v, want %x", lsn, read.Page, read.PageLSN, err, want)
			}
		}
		if longest(t, r.(*reader), pages) <= longChain+maxBatch {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the longest chain has %d changes, %d at first", longest(t, r.(*reader), pages), before)
		}
	}
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	r, err = openGroup(t, k.open(t, dir)).Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	for lsn, want := range pages {
		if read, err := r.Page(1, lsn); err != nil || !bytes.Equal(read.Page, want) {
			t.Fatalf("after a restart the page at %s: %x, %v, want %x", lsn, read.Page, err, want)
		}
	}
}

// order notes what is done to a database, which is said not to keep an order.
type order struct {
	sorted.Database
	mu       sync.Mutex
	unsynced bool
}

func (o *order) Commit(c sorted.Change) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unsynced = true
	return o.Database.Commit(c)
}

func (o *order) Sync() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unsynced = false
	return o.Database.Sync()
}

// TestAShortenedChainIsDurableBeforeAnythingIsTrimmed looks at what the dropper
// leaves behind: without a sync a power cut might keep the removal of the versions
// before an image, and not the image.
func TestAShortenedChainIsDurableBeforeAnythingIsTrimmed(t *testing.T) {
	db, err := onBadger.small(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := &order{Database: db}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	g := openGroup(t, s)
	pages := unlucky(t, g, 600)
	flush(t, g)
	e, err := g.Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	r, newest := e.(*reader), slices.Max(slices.Collect(maps.Keys(pages)))
	v, err := r.enter(newest)
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.chain(1)
	r.leave()
	if err != nil {
		t.Fatal(err)
	}
	s.dropper.end() // the test is the dropper now
	s.shortenWaiting(shortening{r, 1, c.First})
	if o.unsynced {
		t.Fatal("a chain was shortened and nothing synced")
	}
	v.at = newest
	if c, err = v.chain(1); err != nil || c.Changes() > 2*maxBatch {
		t.Fatalf("the chain has %d changes, %v, want it shortened", c.Changes(), err)
	}
}

// maxBatch is the most records in a batch of unlucky's.
const maxBatch = 7

// unlucky applies patches of page 1, and returns the page as of each LSN.
func unlucky(t *testing.T, g *group, patches int) map[pinetree.LSN][]byte {
	t.Helper()
	random := rand.New(rand.NewPCG(4, 4))
	pages := map[pinetree.LSN][]byte{}
	page := make([]byte, 200)
	var lsn pinetree.LSN
	for index := pinetree.RaftIndex(1); len(pages) < patches; index++ {
		var records []pinetree.Record
		for range 1 + random.IntN(maxBatch) {
			prev := lsn
			for lsn += 1 + pinetree.LSN(random.IntN(9)); layout.IsConsolidated(1, lsn, 1); lsn++ {
			}
			redo := &storepb.Redo{}
			for range 1 + random.IntN(2) {
				at := random.IntN(len(page))
				page[at] = byte(random.Uint32())
				redo.Ops = append(redo.Ops, &storepb.RedoOp{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: 1, Offset: uint32(at), Bytes: page[at : at+1]}}})
			}
			if len(pages) == 0 { // so that all have its length
				redo.Ops = append(redo.Ops, &storepb.RedoOp{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: 1, Bytes: page}}})
			}
			payload, err := proto.Marshal(redo)
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, pinetree.Record{Prev: prev, LSN: lsn, Payload: payload})
			pages[lsn] = bytes.Clone(page)
		}
		b, err := storepb.EncodeBatch(1, 1, records)
		if err != nil {
			t.Fatal(err)
		}
		err = g.Apply(engine.Write{Batches: []pinetree.Batch{b}, Position: pinetree.Position{
			Index: index, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: lsn, Format: pinetree.FormatRedo}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return pages
}

// longest is the length of the longest chain that a read meets.
func longest(t *testing.T, r *reader, pages map[pinetree.LSN][]byte) (changes int) {
	t.Helper()
	for lsn := range pages {
		v, err := r.enter(lsn)
		if err != nil {
			t.Fatal(err)
		}
		chain, err := v.chain(1)
		r.leave()
		if err != nil {
			t.Fatal(err)
		}
		changes = max(changes, chain.Changes())
	}
	return changes
}
