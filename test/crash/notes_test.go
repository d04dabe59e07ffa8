package crash

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// notes are the metadata of the volume: one transaction after the other, each of
// which makes one revision, so that the table at a revision follows from its number.
type notes struct {
	sent, acked pinetree.MetaRevision // revisions that were asked for, and that were promised
	wish        pinetree.MetaRevision // the highest one up to which the history was to be given up
}

// transaction is the one that makes a revision. It is carried out once, however often
// it is sent.
func transaction(n pinetree.MetaRevision) meta.Txn {
	key := func(n pinetree.MetaRevision) []byte { return fmt.Appendf(nil, "key %d", n%7) }
	put := meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: key(n)}, Value: fmt.Appendf(nil, "%0*d", int(n*31%200), n)}
	x := meta.Txn{ID: fmt.Appendf(nil, "transaction %d", n), Then: []meta.Op{put}}
	if n%5 == 0 {
		x.Compares = []meta.Compare{{Key: key(n + 1), Target: meta.TargetVersion, Relation: meta.Greater, Number: 1}}
		x.Otherwise = []meta.Op{put}
		x.Then = append(x.Then, meta.Op{Kind: meta.OpDelete, Span: meta.Span{Key: key(n + 1)}})
	}
	return x
}

// annotate carries transactions out, each when the one before is acknowledged.
func (w *writer) annotate(count int) {
	c := w.c
	c.t.Helper()
	for range count {
		n := c.note(func(o *notes) { o.sent = o.acked + 1 }).sent
		c.until(fmt.Sprintf("transaction %d on metadata is acknowledged", n), func(ctx context.Context) error {
			_, g, err := c.leader()
			if err != nil {
				return err
			}
			result, err := g.MetaTxn(ctx, theVolume, transaction(n))
			if err == nil && result.Revision != n {
				c.t.Fatalf("%s: transaction %d on metadata made revision %d", c.plan, n, result.Revision)
			}
			return err
		})
		c.note(func(o *notes) { o.acked = n })
	}
}

// forget gives up the history of the metadata but for the last revision.
func (w *writer) forget() {
	c := w.c
	c.t.Helper()
	to := c.note(func(o *notes) { o.wish = o.acked - 1 }).wish
	c.until(fmt.Sprintf("the metadata is compacted up to revision %d", to), func(ctx context.Context) error {
		_, g, err := c.leader()
		if err != nil {
			return err
		}
		_, err = g.MetaCompact(ctx, theVolume, to)
		return err
	})
}

// note changes what is known of the metadata and returns it.
func (c *cluster) note(change func(*notes)) notes {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.notes)
	return c.notes
}

// checkNotes compares the metadata that an engine has after a start with what it is
// at the revision that its position says.
func (m *machine) checkNotes() error {
	groups, err := m.engines.Groups()
	if err != nil || len(groups) == 0 {
		return err
	}
	e, err := m.engines.Open(theGroup)
	if err != nil {
		return err
	}
	at, there := e.Position().Volumes[theVolume]
	if !there {
		return nil
	}
	table, err := e.Meta(theVolume)
	if err != nil {
		return err
	}
	if table.Revision() != at.MetaRevision || table.Compacted() != at.MetaCompacted {
		return fmt.Errorf("metadata at revision %d, compacted up to %d, with a position at %d, %d", table.Revision(), table.Compacted(), at.MetaRevision, at.MetaCompacted)
	}
	if at.MetaRevision > 0 {
		m.c.marks.annotated.Add(1)
	}
	return m.c.compareNotes(table)
}

// compareNotes compares a table with what it is to be at its revision.
func (c *cluster) compareNotes(got *meta.Table) error {
	known := c.note(func(*notes) {})
	if got.Revision() > known.sent || got.Compacted() > known.wish {
		return fmt.Errorf("metadata at revision %d, compacted up to %d, and %d and %d were asked for", got.Revision(), got.Compacted(), known.sent, known.wish)
	}
	want := meta.Empty()
	for n := pinetree.MetaRevision(1); n <= got.Revision(); n++ {
		delta, _, err := meta.Evaluate(want, meta.Proposal{Txn: transaction(n), Index: pinetree.RaftIndex(n)})
		if err == nil {
			want, _, err = want.Advance(delta)
		}
		if err != nil {
			return err
		}
	}
	want, _, err := want.Advance(meta.Delta{Revision: want.Revision(), Compacted: got.Compacted()})
	if err != nil {
		return err
	}
	a, errA := inWords(want)
	b, errB := inWords(got)
	if diff := cmp.Diff(a, b); diff != "" {
		err = fmt.Errorf("metadata of revision %d, want (-) and got (+):\n%s", got.Revision(), diff)
	}
	return errors.Join(err, errA, errB)
}

// inWords is all that is stored of a table, but for the raft indexes of its
// transactions, which leave gaps.
func inWords(table *meta.Table) (words []string, err error) {
	err = table.Records(func(r meta.Record) error {
		if r.Memory != nil {
			memory := *r.Memory
			memory.Index = 0
			r.Memory = &memory
		}
		record, err := storepb.EncodeMetaRecord(theVolume, r)
		words = append(words, fmt.Sprintf("%x", record))
		return err
	})
	return append(words, fmt.Sprintf("%d bytes", table.Bytes())), err
}

// judgeNotes reads the metadata of a member once all that was promised is there.
func (c *cluster) judgeNotes(ctx context.Context, g *host.Group) error {
	known := c.note(func(*notes) {})
	if _, err := g.FollowMeta(ctx, theVolume, known.acked-1); err != nil {
		return err
	}
	var table *meta.Table
	_, err := g.ReadMeta(ctx, host.ReadRequest{Volume: theVolume, Level: pinetree.ReadStale}, func(t *meta.Table) error {
		table = t
		return nil
	})
	if err != nil {
		return err
	}
	if wrong := c.compareNotes(table); wrong != nil {
		c.t.Fatalf("%s: %v", c.plan, wrong)
	}
	return nil
}

// TestNotesMakeOneRevisionEach is what compareNotes relies on.
func TestNotesMakeOneRevisionEach(t *testing.T) {
	table := meta.Empty()
	for n := pinetree.MetaRevision(1); n < 100; n++ {
		delta, result, err := meta.Evaluate(table, meta.Proposal{Txn: transaction(n), Index: pinetree.RaftIndex(n)})
		if err != nil || result.Revision != n {
			t.Fatalf("transaction %d makes revision %d, %v", n, result.Revision, err)
		}
		if table, _, err = table.Advance(delta); err != nil {
			t.Fatal(err)
		}
	}
}
