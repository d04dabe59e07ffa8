package logservice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func (m *member) meta() wirepb.MetaClient { return wirepb.NewMetaClient(m.conn) }

// metaPut is a transaction that sets keys, given in pairs with their values.
func metaPut(pairs ...string) *wirepb.MetaTxnRequest {
	q := &wirepb.MetaTxnRequest{Volume: 7}
	for n := 0; n < len(pairs); n += 2 {
		q.Then = append(q.Then, &wirepb.MetaOp{Op: &wirepb.MetaOp_Put{Put: &wirepb.MetaPut{Key: []byte(pairs[n]), Value: []byte(pairs[n+1])}}})
	}
	return q
}

// txn carries out a transaction on the leader, which may still become one.
func (c *cluster) txn(leader int, q *wirepb.MetaTxnRequest) *wirepb.MetaTxnResponse {
	c.t.Helper()
	q.Id = fmt.Appendf(nil, "%p %d", q, time.Now().UnixNano())
	var answer *wirepb.MetaTxnResponse
	c.eventually("the transaction is carried out", func() (err error) {
		answer, err = c.members[leader].meta().MetaTxn(c.ctx(), q)
		return err
	})
	return answer
}

func stale() *wirepb.ReadOptions { return &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE} }

func TestMetadataIsReadAsFreshlyAsAskedForOnEveryReplica(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	first := c.txn(0, metaPut("a", "1", "b", "1"))
	second := c.txn(0, metaPut("b", "2", "c", "2"))
	if !first.Succeeded || first.Revision != 1 || second.Revision != 2 {
		t.Fatalf("revisions: %v, %v", first, second)
	}
	all := &wirepb.MetaRangeRequest{Volume: 7, Key: []byte("a"), End: []byte{0}}
	for n, m := range c.members {
		for _, o := range []*wirepb.ReadOptions{{Level: wirepb.ReadLevel_CONSISTENT}, {Level: wirepb.ReadLevel_DEFAULT}} {
			all.Options = o
			r, err := m.meta().MetaRange(c.ctx(), all)
			if n > 0 && o.Level == wirepb.ReadLevel_DEFAULT {
				if hint, ok := errors.AsType[*pinetree.NotLeaderError](err); !ok || hint.Leader != 1 || hint.Addr != c.members[0].addr {
					t.Errorf("a default read of a follower: %v", err)
				}
				continue
			}
			if err != nil || len(r.Items) != 3 || string(r.Items[1].Value) != "2" || r.Revision != 2 || r.Served.Node != uint64(n+1) {
				t.Errorf("node %d at level %s: %v, %v", n+1, o.Level, r, err)
			}
		}
		// A stale read of a revision waits until the replica has it.
		r, err := m.meta().MetaRange(c.ctx(), &wirepb.MetaRangeRequest{Volume: 7, Key: []byte("a"), End: []byte("c"), Revision: 1, Options: stale()})
		if err != nil || len(r.Items) != 2 || string(r.Items[1].Value) != "1" || r.Items[1].Modified != 1 {
			t.Errorf("node %d at revision 1: %v, %v", n+1, r, err)
		}
	}
	if _, err := c.members[1].meta().MetaTxn(c.ctx(), metaPut("a", "3")); !errors.Is(err, pinetree.ErrNotLeader) {
		t.Errorf("a transaction on a follower: %v", err)
	}
	if _, err := c.members[1].meta().MetaCompact(c.ctx(), &wirepb.MetaCompactRequest{Volume: 7, Revision: 1}); !errors.Is(err, pinetree.ErrNotLeader) {
		t.Errorf("a compaction on a follower: %v", err)
	}
}

func TestMetadataComesInPages(t *testing.T) {
	c := startCluster(t, 1)
	c.group(0, pinetree.FormatRedo)
	value := string(bytes.Repeat([]byte("v"), 900<<10))
	for n := range 5 {
		c.txn(0, metaPut(fmt.Sprintf("large/%d", n), value))
	}
	q := &wirepb.MetaRangeRequest{Volume: 7, Key: []byte("large/"), End: []byte("large0")}
	for pages, seen := 1, 0; ; pages++ {
		r, err := c.members[0].meta().MetaRange(c.ctx(), q)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(r.Items)
		if !r.More {
			if pages < 3 || seen != 5 {
				t.Errorf("%d items in %d pages", seen, pages)
			}
			break
		}
		q.Revision, q.Key = r.Revision, append(r.Items[len(r.Items)-1].Key, 0)
	}
	q.Key, q.KeysOnly, q.Limit = []byte("large/"), true, 4
	if r, err := c.members[0].meta().MetaRange(c.ctx(), q); err != nil || len(r.Items) != 4 || !r.More || len(r.Items[0].Value) != 0 {
		t.Errorf("keys only, of which 4: %v", err)
	}
}

func TestMetadataRefusesWhatIsBeyondItsLimits(t *testing.T) {
	c := startCluster(t, 1)
	c.group(0, pinetree.FormatOpaque)
	c.txn(0, metaPut("a", "1"))
	at := c.members[0].meta()
	long := string(make([]byte, 5000))
	for what, call := range map[string]func() error{
		"a long key":    func() error { _, err := at.MetaTxn(c.ctx(), metaPut(long, "")); return err },
		"a large value": func() error { _, err := at.MetaTxn(c.ctx(), metaPut("k", string(make([]byte, 1<<20+1)))); return err },
		"many ops":      func() error { _, err := at.MetaTxn(c.ctx(), metaPut(make([]string, 2*129)...)); return err },
		"an empty op": func() error {
			_, err := at.MetaTxn(c.ctx(), &wirepb.MetaTxnRequest{Volume: 7, Then: []*wirepb.MetaOp{{}}})
			return err
		},
		"an unknown compare": func() error {
			_, err := at.MetaTxn(c.ctx(), &wirepb.MetaTxnRequest{Volume: 7, Compares: []*wirepb.MetaCompare{{Key: []byte("a"), Target: 9}}})
			return err
		},
		"no key to read": func() error { _, err := at.MetaRange(c.ctx(), &wirepb.MetaRangeRequest{Volume: 7}); return err },
		"an unknown level": func() error {
			_, err := at.MetaRange(c.ctx(), &wirepb.MetaRangeRequest{Volume: 7, Key: []byte("a"), Options: &wirepb.ReadOptions{Level: 9}})
			return err
		},
		"a watch without keys": func() error { return firstOf(at, c.ctx(), &wirepb.MetaWatchRequest{Volume: 7}) },
		"a watch from afar": func() error {
			return firstOf(at, c.ctx(), &wirepb.MetaWatchRequest{Volume: 7, Key: []byte("a"), After: 99, ProgressMs: 100})
		},
	} {
		if err := call(); !errors.Is(err, pinetree.ErrBadBatch) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := at.MetaRange(c.ctx(), &wirepb.MetaRangeRequest{Volume: 8, Key: []byte("a")}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("no such volume: %v", err)
	}
}

// firstOf is the error of a watch, or nil when it answers.
func firstOf(at wirepb.MetaClient, ctx context.Context, q *wirepb.MetaWatchRequest) error {
	stream, err := at.MetaWatch(ctx, q)
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

// watched follows a watch up to a revision and lists its events.
func watched(t *testing.T, stream wirepb.Meta_MetaWatchClient, upTo uint64) []string {
	t.Helper()
	var list []string
	for last := uint64(0); last < upTo; {
		r, err := stream.Recv()
		if err != nil {
			t.Fatalf("after revision %d, waiting for %d: %v", last, upTo, err)
		}
		for _, e := range r.Events {
			what := "put"
			if e.Deleted {
				what = "delete"
			}
			list = append(list, fmt.Sprintf("%d %s %s", e.Item.Modified, what, e.Item.Key))
		}
		if !r.More {
			last = r.Revision
		}
	}
	return list
}

func TestAWatchTellsHistoryThenWhatIsNew(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	c.txn(0, metaPut("dir/a", "1", "dir/b", "1", "other", "1"))
	c.txn(0, metaPut("other", "2"))
	c.txn(0, &wirepb.MetaTxnRequest{Volume: 7, Then: []*wirepb.MetaOp{{Op: &wirepb.MetaOp_Delete{Delete: &wirepb.MetaDelete{Key: []byte("dir/"), End: []byte("dir0")}}}}})
	history, at := []string{"1 put dir/a", "1 put dir/b", "3 delete dir/a", "3 delete dir/b"}, uint64(3)
	for n, m := range c.members {
		stream, err := m.meta().MetaWatch(c.ctx(), &wirepb.MetaWatchRequest{Volume: 7, Key: []byte("dir/"), End: []byte("dir0"), ProgressMs: 200})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(watched(t, stream, at)); got != fmt.Sprint(history) {
			t.Errorf("node %d tells the history %s, want %s", n+1, got, history)
		}
		made := c.txn(0, metaPut("dir/c", "1"))
		news := []string{fmt.Sprintf("%d put dir/c", made.Revision)}
		if got := watched(t, stream, made.Revision); !slices.Equal(got, news) {
			t.Errorf("node %d tells %s of revision %d", n+1, got, made.Revision)
		}
		// Nothing that is watched changes: the notices tell how far it is.
		other := c.txn(0, metaPut("other", "3"))
		if got := watched(t, stream, other.Revision); len(got) > 0 {
			t.Errorf("node %d tells %v", n+1, got)
		}
		history, at = append(history, news...), other.Revision
	}
}

// TestASlowWatchTakesNoMemoryAndIsToldWhatItMissed: a client that reads nothing
// falls back to the history, and when that is compacted, it is told so.
func TestASlowWatchTakesNoMemoryAndIsToldWhatItMissed(t *testing.T) {
	c := startCluster(t, 1)
	c.group(0, pinetree.FormatOpaque)
	at := c.members[0].meta()
	watch := func() wirepb.Meta_MetaWatchClient {
		stream, err := at.MetaWatch(c.ctx(), &wirepb.MetaWatchRequest{Volume: 7, Key: []byte("k"), FromNow: true})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := stream.Recv(); err != nil || len(r.Events) > 0 {
			t.Fatalf("the watch begins with %v, %v", r, err)
		}
		return stream
	}
	patient, hasty := watch(), watch()
	value := string(make([]byte, 1<<20))
	var last uint64
	for range 24 { // far more than what gRPC and the watch keep
		last = c.txn(0, metaPut("k", value)).Revision
	}
	if got := watched(t, hasty, last); len(got) != 24 {
		t.Errorf("%d changes of 24", len(got))
	}
	if _, err := at.MetaCompact(c.ctx(), &wirepb.MetaCompactRequest{Volume: 7, Revision: last}); err != nil {
		t.Fatal(err)
	}
	var err error
	seen := 0
	for err == nil {
		var r *wirepb.MetaWatchResponse
		if r, err = patient.Recv(); err == nil {
			seen += len(r.Events)
		}
	}
	if !errors.Is(err, pinetree.ErrTruncated) || seen == 0 || seen > 20 {
		t.Errorf("after %d changes the slow watch ends with %v", seen, err)
	}
	if err := firstOf(at, c.ctx(), &wirepb.MetaWatchRequest{Volume: 7, Key: []byte("k"), After: 3}); !errors.Is(err, pinetree.ErrTruncated) {
		t.Errorf("a watch of what was compacted: %v", err)
	}
}

// TestARevisionIsNotDividedWithoutSayingSo: one that is too large for an answer
// goes on in the next, which is said.
func TestARevisionIsNotDividedWithoutSayingSo(t *testing.T) {
	c := startCluster(t, 1)
	c.group(0, pinetree.FormatOpaque)
	key := func(n int) string { return fmt.Sprintf("%04d/%s", n, bytes.Repeat([]byte("k"), 4000)) }
	var pairs []string
	for n := range 600 {
		if pairs = append(pairs, key(n), ""); len(pairs) == 2*120 {
			c.txn(0, metaPut(pairs...))
			pairs = nil
		}
	}
	end := c.txn(0, &wirepb.MetaTxnRequest{Volume: 7, Then: []*wirepb.MetaOp{{Op: &wirepb.MetaOp_Delete{Delete: &wirepb.MetaDelete{Key: []byte("0"), End: []byte{0}}}}}})
	stream, err := c.members[0].meta().MetaWatch(c.ctx(), &wirepb.MetaWatchRequest{Volume: 7, Key: []byte("0"), End: []byte{0}})
	if err != nil {
		t.Fatal(err)
	}
	parts, events, last := 0, 0, uint64(0)
	for last < end.Revision {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if e.Item.Modified <= last {
				t.Fatalf("a change of revision %d after revision %d was said to be whole", e.Item.Modified, last)
			}
		}
		if events += len(r.Events); r.More {
			parts++
		} else {
			last = r.Revision
		}
	}
	if parts == 0 || events != 1200 {
		t.Errorf("%d events, %d answers were parts", events, parts)
	}
}

// TestAWatchOfAReplicaThatIsCutOffEnds: it cannot prove that it hears of changes,
// and the client goes elsewhere.
func TestAWatchOfAReplicaThatIsCutOffEnds(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	c.txn(0, metaPut("k", "1"))
	stream, err := c.members[2].meta().MetaWatch(c.ctx(), &wirepb.MetaWatchRequest{Volume: 7, Key: []byte("k"), ProgressMs: 100})
	if err != nil {
		t.Fatal(err)
	}
	if got := watched(t, stream, 1); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	for range 3 { // notices
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	c.members[0].stop()
	c.members[1].stop()
	for err == nil {
		_, err = stream.Recv()
	}
	if err == io.EOF || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the watch ends with %v", err)
	}
}
