package logservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog"
)

const (
	// defaultHeartbeat is the pace until the manager says another.
	defaultHeartbeat = 150 * time.Millisecond
	// maxUnanswered bounds the heartbeats whose instants are remembered. A
	// grant that answers an older one gives nothing.
	maxUnanswered = 64
	// minSilence is how long a manager may answer nothing before another one
	// is tried, at least; a few heartbeats if that is longer.
	minSilence = time.Second
	// hurry is how many times more often than at its usual pace the agent tells of
	// replicas that changed their role. Each heartbeat tells of all groups that the
	// node leads, and when another node dies hundreds change within a moment.
	hurry = 10
)

// agent keeps the node known to the active manager: state up, grants and
// addresses down. It is never in the way of data: without any manager it goes
// on trying and the node goes on serving.
type agent struct {
	node     *Node
	log      *slog.Logger
	reporter *reporter
	changed  chan struct{} // a replica's role changed
	known    bool          // a manager has registered this node; run's own
	load     loadMeter     // run's own
}

// poke asks for a heartbeat at once. It never blocks.
func (a *agent) poke() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// run serves one manager after the other until ctx ends, which is no error, or
// until the cluster refuses this directory before it ever knew it. A node that
// was known goes on serving, whatever a manager says: an address that now leads
// to another cluster must not take the data away.
func (a *agent) run(ctx context.Context) error {
	m := a.node.newManagers()
	for ctx.Err() == nil {
		err := a.serve(ctx, m)
		if ctx.Err() != nil {
			break
		}
		if refused(err) && !a.known {
			return err
		}
		pause := m.failed(err)
		a.log.Warn("no heartbeats reach the cluster manager; reads and writes go on", "next", m.address(), "pause", pause, "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return nil
}

// serve registers with the current manager and sends it heartbeats until that
// fails.
func (a *agent) serve(ctx context.Context, m *managers) (err error) {
	conn, err := m.connect()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	n := a.node
	r, err := m.register(ctx, conn, &wirepb.RegisterRequest{
		Cluster: n.identity.Cluster, Node: uint64(n.identity.Node), Instance: n.identity.Instance,
		Address: n.cfg.Advertise, Zone: n.cfg.Zone,
	})
	if err != nil {
		return err
	}
	a.known = true
	interval := time.Duration(r.HeartbeatIntervalMs) * time.Millisecond
	if interval <= 0 {
		interval = defaultHeartbeat
	}
	return a.heartbeats(ctx, conn, pace{interval: interval, served: m.served})
}

// pace is how often a manager wants to hear of the node.
type pace struct {
	interval time.Duration
	served   func() // called when the manager answers
}

// heartbeats runs one stream: this goroutine sends, another receives and is
// waited for.
func (a *agent) heartbeats(ctx context.Context, conn *grpc.ClientConn, p pace) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := wirepb.NewManagerClient(conn).Heartbeat(ctx, wirepb.StreamOptions()...)
	if err != nil {
		return err
	}
	silence := max(minSilence, 5*p.interval)
	// Cancelling also ends a Send that waits for a manager that takes nothing.
	watchdog := time.AfterFunc(silence, func() { cancel(fmt.Errorf("%w for %v", errSilent, silence)) })
	defer watchdog.Stop()

	responses, ended := make(chan *wirepb.HeartbeatResponse), make(chan error, 1)
	received := make(chan struct{})
	defer func() { cancel(nil); <-received }()
	go func() {
		defer close(received)
		for {
			r, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case responses <- r:
			case <-ctx.Done():
				return
			}
		}
	}()

	ticker := time.NewTicker(p.interval)
	defer ticker.Stop()
	var sent unanswered
	for whole := true; ; whole = false {
		var early <-chan time.Time
		began, asked := time.Now(), lease.BootTime() // before anything that is said
		beat := a.heartbeat(sent.next(asked))
		state := a.reporter.collect(ctx, p.interval/2, whole)
		beat.Replicas, beat.Gone, beat.ChangesOnly = state.replicas, state.gone, !whole
		if err := stream.Send(beat); err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		} // The stream's own error comes from Recv.
		for again := false; !again; {
			select {
			case <-ticker.C:
				again = true
			case <-a.changed:
				early = time.After(time.Until(began.Add(p.interval / hurry)))
			case <-early:
				again = true
			case r := <-responses:
				watchdog.Reset(silence)
				p.served()
				a.take(r, &sent)
			case err := <-ended:
				if cause := context.Cause(ctx); cause != nil {
					return cause
				}
				return fmt.Errorf("heartbeats: %w", err)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// heartbeat is the state of the node now, without its replicas.
func (a *agent) heartbeat(sequence uint64) *wirepb.HeartbeatRequest {
	disk := a.node.host.Disk()
	return &wirepb.HeartbeatRequest{
		Node: uint64(a.node.identity.Node), Instance: a.node.identity.Instance, Sequence: sequence,
		FsyncAgeMs: milliseconds(disk.FsyncAge), FsyncPendingMs: milliseconds(disk.Pending),
		FsyncUs: microseconds(disk.Usual), Space: a.mark(), Load: a.load.now(),
	}
}

// mark is the one that the free space of the raft log's disk has fallen below.
func (a *agent) mark() string {
	space, known := a.node.host.Space()
	if !known || space.Level == raftlog.SpacePlenty {
		return ""
	}
	return space.Level.String()
}

// take uses what the manager answered: grants count from before the heartbeat
// that they answer.
func (a *agent) take(r *wirepb.HeartbeatResponse, sent *unanswered) {
	if len(r.Peers) > 0 {
		if err := a.node.peers.learn(r.Peers); err != nil {
			a.log.Warn("the peers' addresses could not be stored; a restart without a manager would not find them", "err", err)
		}
	}
	asked, known := sent.asked(r.Sequence)
	if !known {
		return
	}
	for _, g := range r.Grants {
		replica, err := a.node.host.Group(pinetree.GroupID(g.Group))
		if err != nil {
			continue // removed since
		}
		replica.Grant(lease.Grant{
			Group: pinetree.GroupID(g.Group), Appointment: pinetree.AppointmentID(g.Appointment),
			Term: pinetree.RaftTerm(g.RaftTerm), Duration: time.Duration(g.DurationMs) * time.Millisecond,
		}, asked)
		a.node.metrics.grants.Inc()
	}
}

// unanswered remembers when the last heartbeats of a stream were begun. One may
// be answered several times: a grant can follow later on the newest one.
type unanswered struct {
	sequence uint64
	instants [maxUnanswered]lease.Instant
}

// next numbers a heartbeat that begins now.
func (u *unanswered) next(now lease.Instant) uint64 {
	u.sequence++
	u.instants[u.sequence%maxUnanswered] = now
	return u.sequence
}

// asked is when a heartbeat was begun; false when it never was or is too old.
func (u *unanswered) asked(sequence uint64) (lease.Instant, bool) {
	if sequence == 0 || sequence > u.sequence || u.sequence-sequence >= maxUnanswered {
		return 0, false
	}
	return u.instants[sequence%maxUnanswered], true
}
