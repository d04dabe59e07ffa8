package logservice

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/logservice/fanout"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

func TestWhatIsShippedIsReadBackFromEveryReplica(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	w := c.open(0, &wirepb.OpenRequest{Base: 4096})
	if w.at != 4096 {
		t.Fatalf("the log begins at %s, want the base 0/1000", w.at)
	}
	var want []byte
	var batches []pinetree.Batch
	for i := range 40 {
		payload := bytes.Repeat([]byte{byte(i)}, 50_000)
		batches = append(batches, w.batch(3, payload))
		want = append(want, bytes.Repeat(payload, 3)...)
	}
	// The second half first: the queue puts it in order.
	w.send(batches[20:]...)
	w.send(batches[:20]...)
	w.await(w.at)
	for i, m := range c.members {
		got := readAll(t, c, m, w.at)
		if !bytes.Equal(got, want) {
			t.Fatalf("node %d gives back %d bytes, other than the %d shipped", i+1, len(got), len(want))
		}
		d, err := m.reads().Digest(c.ctx(), &wirepb.DigestRequest{Volume: 7, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE}})
		if err != nil || d.Records != 120 || d.Bytes != uint64(len(want)) {
			t.Fatalf("digest of node %d: %v, %v", i+1, d, err)
		}
	}
	// After its last batch the client hears of everything, then of the end.
	last := w.batch(1, []byte("last"))
	w.send(last)
	if err := w.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	w.await(last.LSN)
	if err := w.fails(); err != io.EOF {
		t.Fatalf("the stream ended with %v", err)
	}
}

// readAll reads the log of a member up to an LSN in many slices.
func readAll(t *testing.T, c *cluster, m *member, upTo pinetree.LSN) []byte {
	t.Helper()
	tailBytes := fanout.DefaultLimits().ResponseBytes
	stream, err := m.reads().Tail(c.ctx(), &wirepb.TailRequest{
		Volume: 7, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE, MinLsn: uint64(upTo)},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	answers := 0
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		answers++
		size := 0
		for _, encoded := range r.Batches {
			b, _, err := storepb.DecodeBatch(encoded)
			if err != nil {
				t.Fatal(err)
			}
			size += b.Size()
			if err := storepb.Records(b, func(r pinetree.Record) error { got = append(got, r.Payload...); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if size > tailBytes && len(r.Batches) > 1 {
			t.Fatalf("one answer has %d bytes in %d batches", size, len(r.Batches))
		}
	}
	if answers < 2 && len(got) > 2*tailBytes {
		t.Fatalf("%d bytes came in %d answers", len(got), answers)
	}
	return got
}

func TestDamagedAndUnreplayableBatchesAreRefused(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatRedo)
	redo, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: []byte("k"), Value: []byte("v")}}}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c2 := range map[string]struct {
		payload []byte
		spoil   func([]byte) []byte
		want    error
	}{
		"a flipped bit":        {redo, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, pinetree.ErrCorrupt},
		"bytes after":          {redo, func(b []byte) []byte { return append(b, 0) }, pinetree.ErrBadBatch},
		"redo of no sense":     {[]byte{0xff, 0xff}, func(b []byte) []byte { return b }, pinetree.ErrBadBatch},
		"a term of the future": {redo, nil, pinetree.ErrBadBatch},
	} {
		w := c.open(0, &wirepb.OpenRequest{})
		if c2.spoil == nil {
			w.term++
			c2.spoil = func(b []byte) []byte { return b }
		}
		b := w.batch(1, c2.payload)
		b.Encoded = c2.spoil(b.Encoded)
		w.send(b)
		if err := w.fails(); !errors.Is(err, c2.want) || errors.Is(err, pinetree.ErrBadBatch) == errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("%s: %v, want %v and nothing else", name, err, c2.want)
		}
	}
	if _, err := c.members[0].compute().Open(c.ctx(), &wirepb.OpenRequest{Volume: 7, ComputeTerm: uint64(adapter.EndTerm)}); !errors.Is(wirepb.FromError(err), pinetree.ErrBadBatch) {
		t.Errorf("a writer may shut out all others for ever: %v", err)
	}
	w := c.open(0, &wirepb.OpenRequest{})
	b := w.batch(1, redo)
	w.send(b)
	w.await(b.LSN)
	for _, level := range []wirepb.ReadLevel{wirepb.ReadLevel_DEFAULT, wirepb.ReadLevel_CONSISTENT} {
		r, err := c.members[0].reads().Key(c.ctx(), &wirepb.KeyRequest{Volume: 7, Key: []byte("k"), Options: &wirepb.ReadOptions{Level: level}})
		if err != nil || string(r.Value) != "v" || r.Served.Lsn != uint64(b.LSN) || r.Served.Level != level {
			t.Errorf("read at %s: %v, %v", level, r, err)
		}
	}
}

func TestReplacedWriterIsToldForGood(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	old := c.open(0, &wirepb.OpenRequest{})
	b := old.batch(1, []byte("before"))
	old.send(b)
	old.await(b.LSN)
	next := c.open(0, &wirepb.OpenRequest{})
	err := old.fails()
	stale, ok := errors.AsType[*pinetree.StaleComputeTermError](err)
	if !ok || stale.Term != next.term || stale.Durable != b.LSN {
		t.Fatalf("the replaced writer hears %v", err)
	}
	for lsn, want := range map[pinetree.LSN]wirepb.ResolveResponse_Outcome{
		b.LSN:     wirepb.ResolveResponse_COMMITTED,
		b.LSN + 1: wirepb.ResolveResponse_REJECTED,
	} {
		r, err := c.members[0].compute().Resolve(c.ctx(), &wirepb.ResolveRequest{Volume: 7, ComputeTerm: uint64(old.term), Lsn: uint64(lsn)})
		if err != nil || r.Outcome != want || r.ComputeTerm != uint64(next.term) {
			t.Errorf("what became of %s: %v, %v, want %v", lsn, r, err, want)
		}
	}
}

func TestFollowersNameTheLeaderAndItsAddress(t *testing.T) {
	c := startCluster(t, 3)
	c.group(1, pinetree.FormatOpaque)
	w := c.open(1, &wirepb.OpenRequest{})
	b := w.batch(1, []byte("x"))
	w.send(b)
	w.await(b.LSN)
	readAll(t, c, c.members[0], b.LSN)
	_, err := c.members[0].compute().Open(c.ctx(), &wirepb.OpenRequest{Volume: 7})
	if refusal, ok := errors.AsType[*pinetree.NotLeaderError](err); !ok || refusal.Leader != 2 || refusal.Addr != c.members[1].addr {
		t.Errorf("Open on a follower: %v, want a hint to node 2 at %s", err, c.members[1].addr)
	}
	stream, err := c.members[0].compute().Ship(c.ctx())
	if err != nil {
		t.Fatal(err)
	}
	follower := &shipper{c: c, term: w.term, stream: stream}
	follower.send()
	if refusal, ok := errors.AsType[*pinetree.NotLeaderError](follower.fails()); !ok || refusal.Addr != c.members[1].addr {
		t.Errorf("Ship on a follower: %v", refusal)
	}
	if _, err := c.members[0].compute().Open(c.ctx(), &wirepb.OpenRequest{Volume: 8}); !errors.Is(err, pinetree.ErrUnknownVolume) {
		t.Errorf("an unknown volume: %v", err)
	}
}

func TestTailFollowsAndEndsWithTheReplica(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	w := c.open(0, &wirepb.OpenRequest{})
	stream, err := c.members[2].reads().Tail(c.ctx(), &wirepb.TailRequest{Volume: 7, Follow: true, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_CONSISTENT}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		b := w.batch(2, []byte("followed"))
		w.send(b)
		var end pinetree.LSN
		for end < b.LSN {
			r, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, encoded := range r.Batches {
				got, _, err := storepb.DecodeBatch(encoded)
				if err != nil {
					t.Fatal(err)
				}
				end = got.LSN
			}
		}
		w.await(b.LSN)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	c.members[2].log.Fail()
	w.send(w.batch(1, []byte("more")))
	select {
	case err := <-ended:
		if !errors.Is(err, pinetree.ErrStopped) {
			t.Fatalf("the tail of a stopped replica ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the tail of a stopped replica goes on")
	}
}
