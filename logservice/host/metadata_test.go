package host

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/meta"
)

func put(key, value string) meta.Op {
	return meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: []byte(key)}, Value: []byte(value)}
}

func metaValue(c *cluster, g *Group, level pinetree.ReadLevel, key string) (value string, err error) {
	_, err = g.ReadMeta(c.ctx(time.Second), ReadRequest{Volume: theVolume, Level: level}, func(t *meta.Table) error {
		read, err := t.Range(meta.RangeSpec{Span: meta.Span{Key: []byte(key)}})
		if err == nil && len(read.Items) > 0 {
			value = string(read.Items[0].Value)
		}
		return err
	})
	return value, err
}

func TestAMetadataTransactionIsReadOnEveryReplica(t *testing.T) {
	c := newCluster(t)
	leader := c.appoint(1)
	c.createVolume(leader)
	result, err := leader.MetaTxn(c.ctx(time.Second), theVolume, meta.Txn{Then: []meta.Op{put("k", "v")}})
	if err != nil || !result.Succeeded || result.Revision != 1 {
		t.Fatalf("%+v, %v; want revision 1", result, err)
	}
	for _, level := range []pinetree.ReadLevel{pinetree.ReadDefault, pinetree.ReadConsistent} {
		if value, err := metaValue(c, leader, level, "k"); err != nil || value != "v" {
			t.Fatalf("%s read at the leader: %q, %v", level, value, err)
		}
	}
	if value, err := metaValue(c, c.group(2), pinetree.ReadConsistent, "k"); err != nil || value != "v" {
		t.Fatalf("consistent read at a follower: %q, %v", value, err)
	}
	c.eventually(func() error { _, err := c.hosts[3].Volume(theVolume); return err })
	if at, err := c.group(3).FollowMeta(c.ctx(time.Second), theVolume, 0); err != nil || at != 1 {
		t.Fatalf("the third replica is at revision %d, %v", at, err)
	}
	if _, err := c.group(2).MetaTxn(c.ctx(time.Second), theVolume, meta.Txn{}); !errors.Is(err, pinetree.ErrNotLeader) {
		t.Fatalf("a follower carried out a transaction: %v", err)
	}
	if _, err := leader.MetaTxn(c.ctx(time.Second), 99, meta.Txn{}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Fatalf("a transaction on a volume that there is not: %v", err)
	}
}

func TestATransactionWithAnIDIsCarriedOutOnceAcrossLeaders(t *testing.T) {
	c := newCluster(t)
	leader := c.appoint(1)
	c.createVolume(leader)
	x := meta.Txn{Then: []meta.Op{put("k", "v")}, ID: []byte("the id")}
	first, err := leader.MetaTxn(c.ctx(time.Second), theVolume, x)
	if err != nil {
		t.Fatal(err)
	}
	next := c.appoint(2)
	again, err := next.MetaTxn(c.ctx(time.Second), theVolume, x)
	if err != nil || !again.Repeated || again.Revision != first.Revision {
		t.Fatalf("at the next leader: %+v, %v; want the answer %+v once more", again, err, first)
	}
	x.Then[0].Value = []byte("another")
	if _, err := next.MetaTxn(c.ctx(time.Second), theVolume, x); !errors.Is(err, pinetree.ErrBadBatch) {
		t.Fatalf("another transaction of that id: %v, want ErrBadBatch", err)
	}
}

// TestACutOffLeaderDoesNotKnowWhatBecameOfATransaction: it proposes and hears
// nothing; with its id the transaction's fate is told by the next leader.
func TestACutOffLeaderDoesNotKnowWhatBecameOfATransaction(t *testing.T) {
	c := newCluster(t)
	old := c.appoint(1)
	c.createVolume(old)
	c.isolate(1, true)
	x := meta.Txn{Then: []meta.Op{put("k", "v")}, ID: []byte("the id")}
	_, err := old.MetaTxn(c.ctx(200*time.Millisecond), theVolume, x)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("without a quorum: %v", err)
	}
	c.stopGrants(1)
	next := c.appoint(2)
	again, err := next.MetaTxn(c.ctx(time.Second), theVolume, x)
	if err != nil || again.Revision != 1 || again.Repeated {
		t.Fatalf("at the next leader: %+v, %v", again, err)
	}
	c.isolate(1, false)
	c.eventually(func() error {
		if value, err := metaValue(c, old, pinetree.ReadStale, "k"); err != nil || value != "v" {
			return fmt.Errorf("the old leader reads %q, %v", value, err)
		}
		return nil
	})
}

func TestAQuotaIsToldAndCompactionMakesRoom(t *testing.T) {
	c := newCluster(t)
	leader := c.appoint(1)
	c.createVolume(leader)
	big := put("k", string(make([]byte, meta.MaxValueBytes)))
	write := func() error {
		_, err := leader.MetaTxn(c.ctx(2*time.Second), theVolume, meta.Txn{Then: []meta.Op{big}})
		return err
	}
	var err error
	for n := 0; n < 100 && err == nil; n++ {
		err = write()
	}
	var refusal meta.Refusal
	if !errors.Is(err, pinetree.ErrOverQuota) || !errors.As(err, &refusal) || refusal.Limit != meta.DefaultBytes || refusal.Figure <= refusal.Limit {
		t.Fatalf("%v, want ErrOverQuota with the figures", err)
	}
	newest := leader.engine.Position().Volumes[theVolume].MetaRevision
	if to, err := leader.MetaCompact(c.ctx(time.Second), theVolume, newest); err != nil || to != newest {
		t.Fatalf("compacted to %d, %v; want %d", to, err, newest)
	}
	if err := write(); err != nil {
		t.Fatalf("after the compaction: %v", err)
	}
	if _, err := leader.MetaCompact(c.ctx(time.Second), theVolume, newest+2); !errors.Is(err, pinetree.ErrNotFound) {
		t.Fatalf("compaction to a revision that there is not: %v", err)
	}
}
