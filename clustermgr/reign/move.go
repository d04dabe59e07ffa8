package reign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/refusal"
	"github.com/pinetree-db/pinetree/clustermgr/upkeep"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// move is a planned move of a leader.
type move struct {
	group    *group
	from, to seat
	pause    time.Duration
	lag      uint64                 // bytes that the new leader may lack
	release  pinetree.AppointmentID // the old leader's
	floor    pinetree.AppointmentID // highest that any replica reported
	keep     time.Duration          // for how long it stays there, by an operator's word
	why      string
}

// errSettling is why a group has no leader to move for the length of a heartbeat: one
// that left before the change, and arrived after it, says so.
var errSettling = errors.New("its leader changed just now")

// planMove says what a request would do, or why it cannot be done. It runs in
// the owner's goroutine, while nothing else is done to the group, and changes
// nothing. If there are any nodes in only, it is a move to one of these, whatever
// else speaks against them.
func (r *Reign) planMove(q *wirepb.MoveLeaderRequest, only []pinetree.NodeID) (move, error) {
	g := r.groups[pinetree.GroupID(q.GetGroup())]
	if g == nil {
		return move{}, refuse(pinetree.ErrUnknownGroup, "there is no group %d; `group ls` lists those that are", q.GetGroup())
	}
	leader := r.leader(g)
	if leader == nil && r.cfg.Clock() < g.settled {
		return move{}, errSettling
	}
	if leader == nil {
		return move{}, notYet("group %d has no leader to move: %s", g.id, r.why(g))
	}
	seats := r.seats(g)
	from := find(seats, leader.Is.ID)
	from.Status = leader.replicas[g.id]
	if q.GetTo() == uint64(from.Node) {
		return move{}, refuse(pinetree.ErrExists, "node %d leads group %d already", from.Node, g.id)
	}
	all := []policy.Answer{from.Answer}
	var others []policy.Answer
	for _, s := range seats {
		if s.Node != from.Node {
			all = append(all, s.Answer)
			if slices.Contains(only, s.Node) {
				s.Avoid = ""
				others = append(others, s.Answer)
			} else if only == nil && (q.GetTo() == 0 || q.GetTo() == uint64(s.Node)) {
				others = append(others, s.Answer)
			}
		}
	}
	if len(others) == 0 {
		return move{}, refuse(pinetree.ErrBadBatch, "group %d has no other replica on the node asked for; its voters are %v", g.id, g.Is.Voters)
	}
	to, err := policy.ChooseTarget(from.Answer, others, policy.Wish{Home: g.Is.HomeZone, Lag: r.cfg.MoveLagEntries})
	if errors.Is(err, policy.ErrLags) {
		return move{}, err
	}
	if err != nil {
		return move{}, notYet("group %d: %v", g.id, err)
	}
	m := move{
		group: g, from: from, to: find(seats, to.Node), floor: policy.NewestAppointment(all), release: g.Is.Lease.Appointment, pause: r.cfg.MovePause,
		lag: r.cfg.MoveLagBytes, why: fmt.Sprintf("node %d leads, and node %d in zone %q is caught up", from.Node, to.Node, to.Zone),
	}
	if q.GetMaxPauseMs() > 0 {
		m.pause = time.Duration(q.GetMaxPauseMs()) * time.Millisecond
	}
	return m, nil
}

// moving is the name of the operation.
const moving = "move the leader"

// begin starts a planned move beside the owner. Done hears how it went.
func (r *Reign) begin(m move, done func(*wirepb.MoveLeaderResponse)) {
	r.operate(m.group, moving, func() error {
		response, err := r.carryOut(m)
		done(response)
		return err
	})
}

// MoveLeader serves MoveLeader: an operator's order, whose word stands for a time.
// A target that lags is waited for while the group is served. The move goes on
// when the caller goes away.
func (r *Reign) MoveLeader(ctx context.Context, q *wirepb.MoveLeaderRequest) (*wirepb.MoveLeaderResponse, error) {
	return r.moveLeader(ctx, q, r.cfg.Keep)
}

func (r *Reign) moveLeader(ctx context.Context, q *wirepb.MoveLeaderRequest, keep time.Duration) (*wirepb.MoveLeaderResponse, error) {
	result := make(chan *wirepb.MoveLeaderResponse, 1)
	m, err := r.tryMove(ctx, q, keep, result)
	for began := r.cfg.Clock(); errors.Is(err, policy.ErrLags) || errors.Is(err, errSettling); m, err = r.tryMove(ctx, q, keep, result) {
		if q.GetDryRun() && !errors.Is(err, errSettling) || r.cfg.Clock().Sub(began) > r.cfg.MoveCatchUp || ctx.Err() != nil {
			return nil, notYet("group %d: %v", q.GetGroup(), err)
		}
		time.Sleep(r.cfg.Tick)
	}
	if err != nil {
		return nil, err
	}
	if q.GetDryRun() {
		return r.predict(ctx, m)
	}
	select {
	case response := <-result:
		return response, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("group %d: the move goes on: %w", m.group.id, ctx.Err())
	case <-r.owner.Ended():
		return nil, refusal.Interrupted()
	}
}

// tryMove plans a move and begins it, unless it is only asked about.
func (r *Reign) tryMove(ctx context.Context, q *wirepb.MoveLeaderRequest, keep time.Duration, result chan *wirepb.MoveLeaderResponse) (m move, err error) {
	err = r.await(ctx, func() (_ bool, err error) {
		if g := r.groups[pinetree.GroupID(q.GetGroup())]; g != nil && g.busy != "" {
			return false, nil // each operation is bounded in time
		}
		m, err = r.planMove(q, nil)
		m.keep = keep
		if err != nil || q.GetDryRun() {
			return true, err
		}
		if r.operations >= r.cfg.MaxOperations {
			return true, refuse(pinetree.ErrQueueFull, "%d operations are under way; try again", r.operations)
		}
		r.begin(m, func(response *wirepb.MoveLeaderResponse) { result <- response })
		return true, nil
	})
	return m, err
}

// predict says what a move would do and how long it would stop the group.
func (r *Reign) predict(ctx context.Context, m move) (*wirepb.MoveLeaderResponse, error) {
	if refused, _, err := r.dial.CheckTransfer(ctx, m.transfer(0)); err != nil || refused != "" {
		return nil, notYet("group %d: node %d would not hand over: %v", m.group.id, m.from.Node, cmp.Or(err, errors.New(refused)))
	}
	return list(ctx, r, func() (*wirepb.MoveLeaderResponse, error) {
		latency := upkeep.Latency{Commit: time.Duration(m.from.Status.GetCommitUs()) * time.Microsecond, Cap: m.pause}
		pause, how := r.pauses.Predict(m.group.id, latency)
		return &wirepb.MoveLeaderResponse{
			From: uint64(m.from.Node), To: uint64(m.to.Node), PredictedUs: uint32(pause.Microseconds()),
			Reason: fmt.Sprintf("would move: %s; writers would wait for about %v, %s", m.why, pause.Round(100*time.Microsecond), how),
		}, nil
	})
}

// transfer is the order to both nodes.
func (m move) transfer(take pinetree.AppointmentID) orders.Transfer {
	return orders.Transfer{
		Group: m.group.id, From: m.from.target, To: m.to.target, Release: m.release, Take: take, MaxPause: m.pause, MaxLag: m.lag,
	}
}

// carryOut moves the leader, or gives the leadership back to the old one under
// a newer appointment, for the old one was released for good. The error is for
// the group's next look; the response tells everything.
func (r *Reign) carryOut(m move) (*wirepb.MoveLeaderResponse, error) {
	g := m.group
	response := &wirepb.MoveLeaderResponse{From: uint64(m.from.Node), To: uint64(m.to.Node)}
	err := r.dial.AwaitTransfer(r.ctx, m.transfer(0), orders.Patience{For: r.cfg.MoveCatchUp, Pace: r.cfg.Tick})
	if err != nil {
		r.tell(func() { r.settle(g) }) // nothing was done; it is not tried again at once
		response.Reason = "not moved: " + err.Error()
		return response, err
	}
	appointment, err := r.decree(g, decision{to: m.to.Node, floor: m.floor, keep: m.keep, cause: "planned move: " + m.why})
	if err != nil {
		response.Reason = "not moved: " + err.Error()
		return response, err
	}
	released, err := r.handOver(m, appointment)
	if err == nil {
		err = r.awaitActivation(g, appointment)
	}
	if err != nil {
		response.Reason = "not moved: " + err.Error()
		return response, r.takeBack(m, response)
	}
	response.Moved, response.Reason, response.Appointment = true, m.why, uint64(appointment) // also when the office ends now
	r.tell(func() {
		pause := max(0, g.activated.Sub(released))
		r.settle(g)
		r.pauses.Add(g.id, pause)
		response.RaftTerm, response.PauseUs = uint64(g.Is.Lease.Term), uint32(pause.Microseconds())
		r.event(ledger.Event{Kind: "moved", Group: g.id, Node: m.to.Node, Appointment: appointment, Cause: m.why,
			Outcome: fmt.Sprintf("from node %d, %v from release to activation", m.from.Node, pause.Round(10*time.Microsecond))})
	})
	return response, nil
}

// handOver orders both nodes and returns when the lease was released, by this
// manager's clock.
func (r *Reign) handOver(m move, appointment pinetree.AppointmentID) (lease.Instant, error) {
	var released lease.Instant
	status, err := r.dial.HandOver(r.ctx, m.transfer(appointment), func(ago time.Duration) {
		released = r.cfg.Clock().Add(-ago)
		r.tell(func() { r.released(m.group, m.from.Node, m.release) })
	})
	if err == nil {
		r.tell(func() { r.heardOf(m.group, m.to.node, status) })
	}
	return released, err
}

// awaitActivation waits until the appointment was granted the lease.
func (r *Reign) awaitActivation(g *group, appointment pinetree.AppointmentID) error {
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.Appoint)
	defer cancel()
	verdict := "it has not asked for the lease"
	err := r.await(ctx, func() (bool, error) {
		if g.Is.Lease.Appointment != appointment {
			return false, fmt.Errorf("appointment %d came between", g.Is.Lease.Appointment)
		}
		if g.claimed {
			verdict = g.verdict.String()
		}
		return g.Is.Lease.Activated(), nil
	})
	if err != nil {
		return fmt.Errorf("the new leader was not activated: %s: %w", verdict, err)
	}
	return nil
}

// takeBack appoints the old leader anew after a move that failed. When it does
// not lead either, the next look at the group finds a leader.
func (r *Reign) takeBack(m move, response *wirepb.MoveLeaderResponse) error {
	err := r.appoint(m.group, m.from, decision{floor: m.floor, cause: response.Reason})
	outcome := fmt.Sprintf("node %d leads on", m.from.Node)
	if err != nil {
		outcome = "a leader is to be found: " + err.Error()
	}
	r.tell(func() {
		response.Appointment = uint64(m.group.Is.Lease.Appointment)
		r.event(ledger.Event{Kind: "move_aborted", Group: m.group.id, Node: m.from.Node,
			Appointment: m.group.Is.Lease.Appointment, Cause: response.Reason, Outcome: outcome})
	})
	response.Reason += "; " + outcome
	return err
}
