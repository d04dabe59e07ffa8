package logservice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// set replaces the volume's settings, on a leader.
func (c *cluster) set(leader int, s *wirepb.VolumeSettings) {
	c.t.Helper()
	if _, err := c.members[leader].volumes().SetVolume(c.ctx(), &wirepb.SetVolumeRequest{Volume: 7, Settings: s}); err != nil {
		c.t.Fatal(err)
	}
}

func TestAVolumeTakesInLogAtItsRateAndTellsWhoWaits(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	w := c.open(0, &wirepb.OpenRequest{})
	const rate = 1 << 20
	c.set(0, &wirepb.VolumeSettings{IngestRate: rate})
	began := time.Now()
	var end pinetree.LSN
	for range 12 {
		b := w.batch(1, make([]byte, 128<<10))
		w.send(b)
		end = b.LSN
	}
	told := uint64(0)
	for at := pinetree.LSN(0); at < end; {
		r, err := w.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		at, told = pinetree.LSN(r.CommittedLsn), max(told, r.WaitMs)
	}
	// The last batch and a tenth of a second's worth may be owed.
	if took := time.Since(began); took < 1250*time.Millisecond || took > 5*time.Second {
		t.Errorf("1.5 MiB at 1 MiB/s took %v", took)
	}
	if told == 0 || told > 1500 {
		t.Errorf("the writer was told to wait %d ms at most", told)
	}

	// A wait that began under a low rate ends under a higher one, and the term can
	// be opened meanwhile.
	c.set(0, &wirepb.VolumeSettings{IngestRate: 1})
	w.send(w.batch(1, make([]byte, 1000)), w.batch(1, make([]byte, 1000)))
	w.send(w.batch(1, make([]byte, 1000)))
	for held := false; !held; {
		r, err := w.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		held = r.WaitMs > 0
	}
	if _, err := c.members[0].compute().Open(c.ctx(), &wirepb.OpenRequest{Volume: 7, ComputeTerm: uint64(w.term)}); err != nil {
		t.Fatal(err)
	}
	c.set(0, &wirepb.VolumeSettings{})
	w.await(w.at)
}

func TestAFullVolumeRefusesItsWriterUntilItIsTruncated(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	w := c.open(0, &wirepb.OpenRequest{})
	c.set(0, &wirepb.VolumeSettings{MaxBytes: 1 << 20})
	ends := w.ship(8) // of 128 KiB with their headers, or a little less
	full := w.ship(1)
	c.eventually("the leader has replayed that, and so counts it", func() error {
		if at := c.state(0).Watermarks.Applied; at < uint64(full[0]) {
			return fmt.Errorf("it is at %s", pinetree.LSN(at))
		}
		return nil
	})
	w.send(w.batch(1, []byte("too much")))
	if err := w.fails(); !errors.Is(err, pinetree.ErrOverQuota) || !strings.Contains(err.Error(), "max_bytes is 1048576") {
		t.Fatalf("a writer of a full volume: %v", err)
	}
	w = c.open(0, &wirepb.OpenRequest{}) // fences, and learns where the log ends
	if w.at < ends[7] {
		t.Fatalf("the log ends at %s, and %s was acknowledged", w.at, ends[7])
	}
	if _, err := c.members[0].volumes().TruncateVolume(c.ctx(), &wirepb.TruncateVolumeRequest{Volume: 7, Lsn: uint64(ends[3])}); err != nil {
		t.Fatal(err)
	}
	w.ship(1)
}

func TestEachNodeAnswersReadsAtTheVolumesRate(t *testing.T) {
	c := startCluster(t, 3)
	c.group(0, pinetree.FormatOpaque)
	c.open(0, &wirepb.OpenRequest{}).ship(1)
	const rate = 200
	c.set(0, &wirepb.VolumeSettings{ReadRate: rate})
	for i := range c.members {
		c.eventually("the rate is known", func() error {
			if got := c.state(i).Settings.GetReadRate(); got != rate {
				return fmt.Errorf("it is %d", got)
			}
			return nil
		})
	}
	began := time.Now()
	var mu sync.Mutex
	served, refused := make([]int, 3), 0
	var reading sync.WaitGroup
	for n := range 240 {
		reading.Go(func() {
			for time.Since(began) < 500*time.Millisecond {
				_, err := c.members[n%2].reads().Digest(c.ctx(), &wirepb.DigestRequest{Volume: 7, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE}})
				mu.Lock()
				switch {
				case err == nil:
					served[n%2]++
				case errors.Is(err, pinetree.ErrOverQuota) && strings.Contains(err.Error(), "read_rate of 200 a second"):
					refused++
				default:
					t.Error(err)
				}
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	reading.Wait()
	took := time.Since(began)
	for n, got := range served[:2] {
		if most := int(rate*(took.Seconds()+0.1)) + 5; got > most || got < rate/4 {
			t.Errorf("node %d has answered %d reads in %v at %d a second", n+1, got, took, rate)
		}
	}
	if refused == 0 {
		t.Error("no read was refused")
	}
	c.state(0) // is no read of data
}

func TestReadsOfMuchDataTakeTurnsAndOthersDoNot(t *testing.T) {
	c := startCluster(t, 1)
	c.group(0, pinetree.FormatOpaque)
	c.open(0, &wirepb.OpenRequest{}).ship(1)
	digest := func() error {
		ctx, cancel := context.WithTimeout(c.ctx(), 300*time.Millisecond)
		defer cancel()
		_, err := c.members[0].reads().Digest(ctx, &wirepb.DigestRequest{Volume: 7, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE}})
		return err
	}
	var ends []func()
	for {
		ctx, cancel := context.WithTimeout(c.ctx(), 10*time.Millisecond)
		end, err := c.members[0].node.quota.Turn(ctx, 7)
		cancel()
		if err != nil {
			break // all are taken
		}
		ends = append(ends, end)
	}
	if err := digest(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a digest that had no turn: %v", err)
	}
	c.state(0)
	for _, end := range ends {
		end()
	}
	if err := digest(); err != nil {
		t.Error(err)
	}
}
