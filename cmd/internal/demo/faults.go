package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	// faultTimeout bounds each step of the faults.
	faultTimeout = 20 * time.Second
	// quietBytes is how much is acknowledged after a fault before its outage is
	// measured, and the next one made.
	quietBytes = 1 << 20
	killAt     = 0.12 // part of the log that is acknowledged before the kill
	moveAt     = 0.45 // and before the move
)

// faults is what went wrong on purpose.
type faults struct {
	failover, move outage
	killed         pinetree.NodeID
}

// makeFaults kills the leader, starts it again and moves the leadership, while
// the feed goes on.
func (d *demo) makeFaults(ctx context.Context) error {
	if err := d.acknowledged(ctx, d.part(killAt)); err != nil {
		return err
	}
	leader, err := d.leader(ctx)
	if err != nil {
		return err
	}
	process := d.cluster.Node(leader)
	if process == nil {
		return fmt.Errorf("node %d leads, and is no process of this demo", leader)
	}
	at := time.Now()
	if err := process.Kill(); err != nil {
		return err
	}
	d.faults.killed = leader
	d.say("kill -9", "node %d, which leads", leader)
	if err := d.acknowledged(ctx, d.acks.last()+quietBytes); err != nil {
		return fmt.Errorf("after the leader was killed: %w", err)
	}
	d.faults.failover = d.acks.longest(at)
	if leader, err = d.leader(ctx); err != nil {
		return err
	}
	d.say("failover", "node %d leads; the writer waited %s", leader, judged(d.faults.failover, maxFailover))
	if err := process.Start(); err != nil {
		return err
	}
	d.say("restart", "node %d comes back and catches up", d.faults.killed)
	return d.makeMove(ctx)
}

// makeMove moves the leadership by the manager's RPC.
func (d *demo) makeMove(ctx context.Context) error {
	if err := d.acknowledged(ctx, d.part(moveAt)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	for {
		at := time.Now()
		var answer *wirepb.MoveLeaderResponse
		err := d.cluster.Ask(ctx, func(ctx context.Context, m wirepb.ManagerClient) (err error) {
			answer, err = m.MoveLeader(ctx, &wirepb.MoveLeaderRequest{Group: d.volume.Group})
			return err
		})
		if err == nil && answer.Moved {
			if err := d.acknowledged(ctx, d.acks.last()+quietBytes/4); err != nil {
				return fmt.Errorf("after the leadership was moved: %w", err)
			}
			d.faults.move = d.acks.longest(at)
			d.say("move", "from node %d to node %d by the manager's order; the writer waited %s", answer.From, answer.To, judged(d.faults.move, maxMove))
			return nil
		}
		if err == nil {
			err = errors.New(answer.Reason)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the leadership could not be moved: %w", err)
		}
	}
}

// part is the LSN at which a part of the log ends.
func (d *demo) part(of float64) pinetree.LSN {
	return d.feed.walker.Base() + pinetree.LSN(of*float64(d.feed.walker.Bytes()))
}

// acknowledged waits until the log is durable up to an LSN.
func (d *demo) acknowledged(ctx context.Context, lsn pinetree.LSN) error {
	limit := time.After(faultTimeout)
	for d.acks.last() < lsn {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit:
			return errors.Join(fmt.Errorf("no acknowledgement up to %s within %v; the last one is of %s", lsn, faultTimeout, d.acks.last()), d.feed.writer.Err())
		}
	}
	return nil
}

// leader asks the manager who leads the volume's group.
func (d *demo) leader(ctx context.Context) (pinetree.NodeID, error) {
	var leader pinetree.NodeID
	err := d.cluster.Ask(ctx, func(ctx context.Context, m wirepb.ManagerClient) error {
		r, err := m.ListGroups(ctx, &wirepb.ListGroupsRequest{Group: d.volume.Group})
		for _, g := range r.GetGroups() {
			leader = pinetree.NodeID(g.Leader)
		}
		return err
	})
	if err == nil && leader == 0 {
		err = fmt.Errorf("the manager knows no leader of group %d", d.volume.Group)
	}
	return leader, err
}
