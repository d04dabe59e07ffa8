package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// besieged are readers that ask one node for default reads, and whoever leads when
// it refuses or hangs: while it is stopped there are always reads that wait for it
// to go on, and others that show what it must know by then.
type besieged struct {
	h         *history
	node      wirepb.ReadsClient
	volume    uint64
	elsewhere *ship.Reader

	asked, answered, served atomic.Int64 // reads of the node, those it answered, those anybody did
}

func (b *besieged) run(ctx context.Context, id int) {
	random := rand.New(rand.NewPCG(b.h.seed(), uint64(id)))
	for ctx.Err() == nil {
		in := b.h.begin(random)
		call := b.h.now()
		limit, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		got, err := b.node.Key(limit, &wirepb.KeyRequest{
			Volume: b.volume, Key: []byte(in.key), Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_DEFAULT},
		})
		cancel()
		b.asked.Add(1)
		if err != nil && !errors.Is(err, pinetree.ErrNotFound) {
			b.h.end(in, nil)
			if b.h.readOnce(ctx, reading{id: id, by: b.elsewhere}, random) {
				b.served.Add(1)
			}
			continue
		}
		b.answered.Add(1)
		b.served.Add(1)
		b.h.end(in, &porcupine.Operation{ClientId: id, Input: in, Call: call, Output: string(got.GetValue()), Return: b.h.now()})
	}
}

// TestAPausedLeaderServesNothingStale stops the leader's process under a writer
// and readers: another one acknowledges within the bar, and when the process goes
// on, 10,000 default reads later nobody has seen anything older than what was
// acknowledged before.
func TestAPausedLeaderServesNothingStale(t *testing.T) {
	rounds, limit := hangs(t)
	c := startReachable(t, 3)
	volume := c.createVolume("keys", pinetree.FormatRedo)
	h := newHistory()
	var m meter
	w, err := c.client("keys").OpenWriter(c.within(20*time.Second), ship.WriterConfig{RetryFor: time.Minute, Acked: m.hear})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wait sync.WaitGroup
	var wrote error
	wait.Go(func() { wrote = h.write(ctx, w) })
	elsewhere := c.client("keys").Reader(ship.ReadConfig{})
	var gaps sample
	for round := range rounds {
		c.settled(volume.Group)
		gaps = append(gaps, c.pauseLeader(&m, &besieged{h: h, volume: volume.Volume, elsewhere: elsewhere}, round, volume.Group))
		h.next(t)
	}
	cancel()
	wait.Wait()
	if wrote != nil {
		t.Fatal(wrote)
	}
	h.finish(t)
	gaps.judge(t, "SIGSTOP of the leader, one group", limit)
}

// readsAfterPause is how many reads are tried at a node that goes on after a pause,
// and how many are answered meanwhile.
const readsAfterPause = 10_000

// pauseLeader is one round: it stops the leader until another one acknowledges,
// lets it go on, and reads from it. It returns how long nobody acknowledged.
func (c *cluster) pauseLeader(m *meter, b *besieged, round int, group uint64) time.Duration {
	c.t.Helper()
	within(c.t, 10*time.Second, "the writer is acknowledged", func() error {
		if m.leader() == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	old := c.byID(uint64(m.leader()))
	b.node = c.reads(old)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wait sync.WaitGroup
	for id := range 32 {
		wait.Go(func() { b.run(ctx, 200+id) })
	}
	within(c.t, 10*time.Second, "default reads are answered", func() error {
		if b.answered.Load() < 100 {
			return errors.New("fewer than 100 are")
		}
		return nil
	})
	began := time.Now()
	old.signal(syscall.SIGSTOP)
	var got change
	within(c.t, 30*time.Second, "another node acknowledges", func() (err error) {
		got, err = m.after(began)
		return err
	})
	time.Sleep(500 * time.Millisecond) // more is written that the old leader does not know
	before, was, served := b.asked.Load(), b.answered.Load(), b.served.Load()
	old.signal(syscall.SIGCONT)
	within(c.t, 30*time.Second, "10,000 reads from the old leader", func() error {
		if b.asked.Load() < before+readsAfterPause || b.served.Load() < served+readsAfterPause {
			return fmt.Errorf("%d were tried there, %d answered by anybody", b.asked.Load()-before, b.served.Load()-served)
		}
		return nil
	})
	cancel()
	wait.Wait()
	c.t.Logf("round %d: node %d to %d, %v; %d reads tried there afterwards, %d answered, %d by anybody: %s", round, got.from, got.to,
		got.gap().Round(time.Millisecond), b.asked.Load()-before, b.answered.Load()-was, b.served.Load()-served, c.timeline(began, group, old.id, mark{got.first, "acknowledged"}))
	return got.gap()
}
