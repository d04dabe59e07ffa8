package host

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/group"
)

// stall keeps the worker of a group from its work until the returned function is
// called.
func stall(t *testing.T, g *Group) (release func()) {
	t.Helper()
	at, held := make(chan struct{}), make(chan struct{})
	go func() {
		err := g.post(offered, func(*group.Replica) {
			close(at)
			<-held
		})
		if err != nil {
			t.Error(err)
			close(at)
		}
	}()
	<-at
	return func() { close(held) }
}

func TestAnInboxThatIsFullRefusesLoadFirstThenRaftAndNeverACompletion(t *testing.T) {
	const limit = 100
	c := &cluster{tune: func(o *Options) { o.MaxInbox, o.Workers = limit, 1 }}
	c.init(t)
	g := c.group(1)
	c.isolate(1, true) // nobody else fills the inbox
	release := stall(t, g)
	carried := 0
	fill := func(u urgency) (taken int) {
		for range 2 * limit {
			err := g.worker.put(event{group: g, do: func(*group.Replica) { carried++ }}, u)
			if err == nil {
				taken++
			} else if !errors.Is(err, pinetree.ErrQueueFull) {
				t.Fatal(err)
			}
		}
		return taken
	}
	load, raft, completions := fill(offered), fill(consensus), fill(completion)
	if load > limit/2 || load+raft > limit || raft < limit/2 || completions != 2*limit {
		t.Errorf("of %d each: %d offers, %d messages of raft and %d completions were taken", 2*limit, load, raft, completions)
	}
	if _, err := g.Status(c.ctx(time.Second)); !errors.Is(err, pinetree.ErrQueueFull) {
		t.Errorf("a request to a full inbox: %v", err)
	}
	release()
	c.eventually(func() error { _, err := g.Status(c.ctx(time.Second)); return err })
	if carried != load+raft+completions {
		t.Errorf("%d events were taken and %d carried out", load+raft+completions, carried)
	}
}

func TestASessionWaitsWhenTooManyOfItsOffersWait(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	s, err := g.Ship(c.ctx(time.Second), theVolume, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	list := batches(t, 1, 0, 10*(maxOffers+20))
	release := stall(t, g)
	offered := 0
	for offered < len(list) && err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err = s.Offer(ctx, list[offered:offered+1])
		cancel()
		if err == nil {
			offered++
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) || offered != maxOffers {
		t.Errorf("%d offers wait for one session, want %d; the next one: %v", offered, maxOffers, err)
	}
	release()
	if err := s.Offer(c.ctx(3*time.Second), list[offered:]); err != nil {
		t.Fatal(err)
	}
	c.eventually(func() error {
		if p := s.Progress(); p.Err != nil || p.Committed != list[len(list)-1].LSN {
			return errors.Join(p.Err, errors.New(p.Committed.String()))
		}
		return nil
	})
}

func TestAWriterThatReadsNoAcknowledgementsFindsTheNewest(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	deaf, err := g.Ship(c.ctx(time.Second), theVolume, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	for lsn := pinetree.LSN(0); lsn < 2000; lsn += 10 {
		if err := c.ship(g, 1, batches(t, 1, lsn, lsn+10)); err != nil {
			t.Fatal(err)
		}
	}
	c.eventually(func() error {
		if p := deaf.Progress(); p.Err != nil || p.Committed != 2000 {
			return errors.Join(p.Err, errors.New(p.Committed.String()))
		}
		return nil
	})
	if n := len(deaf.Changed()); n != 1 {
		t.Errorf("%d signals wait for one who did not listen", n)
	}
}

// TestWhatNobodyWaitsForIsNotBegun lets those who ask give up while the worker is
// at something else.
func TestWhatNobodyWaitsForIsNotBegun(t *testing.T) {
	c := newCluster(t)
	g := c.appoint(1)
	c.createVolume(g)
	release := stall(t, g)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.CreateVolume(ctx, theVolume+1, pinetree.FormatRedo); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an order to a worker that is busy: %v", err)
	}
	if _, err := g.Ship(ctx, theVolume, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a session of a worker that is busy: %v", err)
	}
	release()
	if err := g.CreateVolume(c.ctx(5*time.Second), theVolume+2, pinetree.FormatRedo); err != nil {
		t.Fatal(err)
	}
	at, _ := g.Replayed()
	if _, there := at.Volumes[theVolume+1]; there || len(at.Volumes) != 2 {
		t.Errorf("the group carries %v, also what was given up", at.Volumes)
	}
}
