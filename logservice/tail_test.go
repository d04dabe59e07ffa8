package logservice

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/fanout"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// TestTailsFollowOnEveryReplicaThroughLeaders begins tails of both kinds on every
// replica, before the first record and its base, and moves the leadership while
// records come.
func TestTailsFollowOnEveryReplicaThroughLeaders(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	const batches, leaders = 60, 3
	type outcome struct {
		who string
		got []pinetree.LSN
		err error
	}
	ended := make(chan outcome)
	open := 0
	for i, m := range c.members {
		for _, committed := range []bool{false, true} {
			stream, err := m.reads().Tail(c.ctx(), &wirepb.TailRequest{
				Volume: 7, Follow: true, Committed: committed, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE},
			})
			if err != nil {
				t.Fatal(err)
			}
			open++
			go func() {
				o := outcome{who: fmt.Sprintf("node %d, committed %v", i+1, committed)}
				for len(o.got) < batches*leaders && o.err == nil {
					var r *wirepb.TailResponse
					if r, o.err = stream.Recv(); o.err == nil {
						for _, encoded := range r.Batches {
							b, _, err := storepb.DecodeBatch(encoded)
							o.got, o.err = append(o.got, b.LSN), errors.Join(o.err, err)
						}
					}
				}
				ended <- o
			}()
		}
	}
	var want []pinetree.LSN
	for leader := range leaders {
		if leader > 0 {
			c.appoint(leader, uint64(leader+1))
		}
		w := c.open(leader, &wirepb.OpenRequest{Base: 4096})
		for range batches {
			b := w.batch(1, []byte("record"))
			want = append(want, b.LSN)
			w.send(b)
			w.await(b.LSN)
		}
	}
	for range open {
		o := <-ended
		if o.err != nil || fmt.Sprint(o.got) != fmt.Sprint(want) {
			t.Errorf("%s: %d batches of %d, %v", o.who, len(o.got), len(want), o.err)
		}
	}
}

func TestTailsThatAreNotToBeAreRefused(t *testing.T) {
	c := startCluster(t, 1)
	c.group(0, pinetree.FormatOpaque)
	m := c.members[0]
	tail := func(q *wirepb.TailRequest) error {
		q.Volume = 7
		stream, err := m.reads().Tail(c.ctx(), q)
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	if err := tail(&wirepb.TailRequest{Committed: true}); !errors.Is(err, pinetree.ErrBadBatch) || !strings.Contains(err.Error(), "set follow") {
		t.Errorf("committed without follow: %v", err)
	}
	g, err := m.node.host.Volume(7)
	if err != nil {
		t.Fatal(err)
	}
	allow := func(tails uint32) {
		q := &wirepb.SetVolumeRequest{Volume: 7, Settings: &wirepb.VolumeSettings{MaxTails: tails}}
		if _, err := m.volumes().SetVolume(c.ctx(), q); err != nil {
			t.Fatal(err)
		}
	}
	allow(1)
	open, err := g.Tail(7)
	if err != nil {
		t.Fatal(err)
	}
	if err := tail(&wirepb.TailRequest{Follow: true}); !errors.Is(err, pinetree.ErrOverQuota) || !strings.Contains(err.Error(), "settings allow 1") {
		t.Errorf("the second of one: %v", err)
	}
	open.Close()
	allow(0)
	most := fanout.DefaultLimits().Tails
	for range most {
		open, err := g.Tail(7)
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
	}
	if err := tail(&wirepb.TailRequest{Follow: true}); !errors.Is(err, pinetree.ErrQueueFull) || !strings.Contains(err.Error(), fmt.Sprint(most)) {
		t.Errorf("one more than %d: %v", most, err)
	}
}
