package group

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/manifest"
	"github.com/pinetree-db/pinetree/logservice/rawnode"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/raftlog"
	"github.com/pinetree-db/pinetree/raftlog/memlog"
)

// cluster is a group whose every message, write and replay a test can hold
// back, lose or let happen. What its replicas say is kept as a story.
type cluster struct {
	t       testing.TB
	options Options
	now     lease.Instant
	peers   []*peer
	wire    []*raftpb.Message
	held    string // messages of this type stay on the wire
	cut     map[[2]pinetree.NodeID]bool
	orders  []SnapshotOrder // snapshots to be sent
	holdAll bool            // snapshots stay where they are
	story   []string
}

// peer is a node with one replica.
type peer struct {
	c       *cluster
	id      pinetree.NodeID
	log     *memlog.Store
	engines *memengine.Store
	engine  engine.Engine
	replica *Replica // nil while the node is down
	starts  uint64
	role    Role
	view    View

	saves    []Save
	commits  []Commit
	diskHung bool
	lazy     bool // replays nothing
	arrived  engine.Restore
}

const theGroup = pinetree.GroupID(1)

func newCluster(t testing.TB, nodes int, options Options) *cluster {
	if options.CommitDelay == DefaultOptions().CommitDelay {
		options.CommitDelay = 0 // time stands still while a test lets things happen
	}
	c := &cluster{t: t, options: options, now: 1_000_000, cut: map[[2]pinetree.NodeID]bool{}}
	var voters []pinetree.NodeID
	for i := range nodes {
		voters = append(voters, pinetree.NodeID(i+1))
	}
	start, point, err := rawnode.Bootstrap(voters)
	c.must(err)
	for range voters {
		p := c.newPeer()
		c.must(p.log.Save([]raftlog.Update{{
			Group: theGroup, Restart: &point, MustSync: true,
			HardState: &raftpb.HardState{Term: proto.Uint64(1), Vote: proto.Uint64(0), Commit: proto.Uint64(1)},
		}}))
		c.must(p.engines.Create(theGroup, start))
		c.must(p.start())
	}
	return c
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) say(format string, args ...any) {
	c.story = append(c.story, fmt.Sprintf(format, args...))
}

func (c *cluster) peer(id int) *peer { return c.peers[id-1] }

// start begins a new life of the replica from what log and engine hold.
func (p *peer) start() error {
	var err error
	if p.engine, err = p.engines.Open(theGroup); err != nil {
		return err
	}
	finish, err := manifest.FinishRestore(theGroup, p.log.View(theGroup), p.engine.Position())
	if err != nil {
		return err
	}
	if finish != nil {
		p.c.must(p.log.Save([]raftlog.Update{*finish}))
	}
	p.starts++
	p.role = Role{}
	p.replica, err = NewReplica(ReplicaConfig{
		Group: theGroup, Node: p.id, Log: p.log.View(theGroup), Applied: p.engine.Position(),
		Options: p.c.options, Logger: slog.New(slog.DiscardHandler), Incarnation: p.starts,
		Publish: func(v View) { p.view = v },
	})
	if err != nil {
		p.replica = nil
	}
	return err
}

// crash takes the node down. The disk keeps a number of unsynced writes, the
// engine what it flushed.
func (p *peer) crash(keep int) {
	p.replica, p.saves, p.commits, p.arrived = nil, nil, nil, nil
	p.log.CrashKeeping(keep)
	p.engines.Crash()
}

// do tells the replica something.
func (p *peer) do(event func(*Replica)) {
	if p.replica == nil {
		return
	}
	p.replica.At(p.c.now)
	event(p.replica)
}

// turn lets the replica say what it wants, and reports whether it wanted
// anything.
func (p *peer) turn() bool {
	if p.replica == nil {
		return false
	}
	p.replica.At(p.c.now)
	e := p.replica.Turn()
	p.c.wire = append(p.c.wire, e.Send...)
	p.saves = append(p.saves, e.Save...)
	p.commits = append(p.commits, e.Commit...)
	p.c.orders = append(p.c.orders, e.Snapshots...)
	p.noteRole()
	return !e.Empty()
}

func (p *peer) noteRole() {
	was, now := p.role, p.replica.Role()
	p.role = now
	if was.Leads && (!now.Leads || now.Term != was.Term) {
		p.c.say("node %d leads no longer", p.id)
		was = Role{}
	}
	if now.Leads && !was.Leads {
		p.c.say("node %d leads in raft term %d", p.id, now.Term)
	}
	if now.Ready && !was.Ready {
		p.c.say("node %d is ready", p.id)
	}
	if now.Activated && !was.Activated {
		p.c.say("node %d is activated", p.id)
	}
}

// save makes the waiting writes durable, with one sync, and tells the replica.
func (p *peer) save() bool {
	if len(p.saves) == 0 || p.replica == nil {
		return false
	}
	saves := p.saves
	p.saves = nil
	for _, s := range saves {
		if s.Install != nil {
			p.takeOver()
		}
	}
	updates := make([]raftlog.Update, len(saves))
	for i, s := range saves {
		updates[i] = s.Update
	}
	p.c.must(p.log.Save(updates))
	for _, s := range saves {
		p.do(func(r *Replica) { r.Saved(s) })
	}
	return true
}

// apply replays what is committed and tells the replica.
func (p *peer) apply() bool {
	if len(p.commits) == 0 || p.replica == nil {
		return false
	}
	commits := p.commits
	p.commits = nil
	write, err := Replay(p.engine, commits)
	if err == nil {
		err = p.engine.Apply(write.Write)
	}
	if err != nil {
		p.do(func(r *Replica) { r.Stop(err) })
		p.c.say("node %d stops: %v", p.id, err)
		return true
	}
	for _, c := range commits {
		p.do(func(r *Replica) { r.Applied(c, write.Position) })
	}
	return true
}

// letter picks messages on the wire; what is zero matches all.
type letter struct {
	from, to pinetree.NodeID
	kind     string
}

func (l letter) matches(m *raftpb.Message) bool {
	return (l.from == 0 || uint64(l.from) == m.GetFrom()) && (l.to == 0 || uint64(l.to) == m.GetTo()) &&
		(l.kind == "" || l.kind == m.GetType().String())
}

// take removes the messages that match from the wire, in order.
func (c *cluster) take(l letter) []*raftpb.Message {
	var taken []*raftpb.Message
	c.wire = slices.DeleteFunc(c.wire, func(m *raftpb.Message) bool {
		if l.matches(m) && (l.kind != "" || m.GetType().String() != c.held) {
			taken = append(taken, m)
			return true
		}
		return false
	})
	return taken
}

// deliver hands messages to their receivers, except over links that are cut.
func (c *cluster) deliver(messages []*raftpb.Message) {
	for _, m := range messages {
		from, to := pinetree.NodeID(m.GetFrom()), pinetree.NodeID(m.GetTo())
		if !c.cut[[2]pinetree.NodeID{from, to}] && int(to) <= len(c.peers) {
			floor := pinetree.RaftIndex(0)
			if sender := c.peers[from-1].replica; sender != nil {
				floor = sender.Floor()
			}
			c.peers[to-1].do(func(r *Replica) {
				r.LearnFloor(floor)
				r.Receive(proto.CloneOf(m))
			})
		}
	}
}

// run lets everything happen that can, without time passing.
func (c *cluster) run() {
	for range 10_000 {
		busy := false
		for _, p := range c.peers {
			busy = p.turn() || busy
			if !p.diskHung {
				busy = p.save() || busy
			}
			if !p.lazy {
				busy = p.apply() || busy
			}
		}
		messages := c.take(letter{})
		c.deliver(messages)
		if !c.holdAll {
			busy = c.carryAll() || busy
		}
		if !busy && len(messages) == 0 {
			return
		}
	}
	c.t.Fatal("the cluster does not come to rest")
}

// pass lets time go by in steps of the tick interval, with everything running.
func (c *cluster) pass(d time.Duration) {
	for d > 0 {
		step := min(d, c.options.TickInterval)
		c.now, d = c.now.Add(step), d-step
		for _, p := range c.peers {
			p.do(func(r *Replica) { r.Tick() })
		}
		c.run()
	}
}

// isolate cuts a node off from all others, or heals it.
func (c *cluster) isolate(id int, cut bool) {
	for _, p := range c.peers {
		if n := pinetree.NodeID(id); p.id != n {
			c.cut[[2]pinetree.NodeID{n, p.id}], c.cut[[2]pinetree.NodeID{p.id, n}] = cut, cut
		}
	}
}

// appoint orders a node to lead.
func (c *cluster) appoint(id int, a Appointment) {
	c.peer(id).do(func(r *Replica) {
		r.Appoint(a, func(err error) { c.say("appointment %d of node %d: %s", a.ID, id, outcome(err, "it leads")) })
	})
}

// grant gives the leader's node the lease, as if it had asked now.
func (c *cluster) grant(id int, a pinetree.AppointmentID, d time.Duration) bool {
	used := false
	c.peer(id).do(func(r *Replica) {
		used = r.Grant(lease.Grant{Group: theGroup, Appointment: a, Term: r.Role().Term, Duration: d}, c.now)
	})
	return used
}

// lead makes a node the activated leader.
func (c *cluster) lead(id int, a pinetree.AppointmentID) {
	c.t.Helper()
	c.appoint(id, Appointment{ID: a})
	c.run()
	if !c.grant(id, a, 600*time.Millisecond) {
		c.t.Fatalf("node %d does not lead: %q", id, c.story)
	}
	c.run()
}

// read asks for a quorum's index; the answer goes into the story.
func (c *cluster) read(id int, name string) {
	c.peer(id).do(func(r *Replica) {
		r.ReadIndex(func(index pinetree.RaftIndex, err error) {
			c.say("read %s: %s", name, outcome(err, fmt.Sprintf("index %d", index)))
		})
	})
}

// create makes a volume.
func (c *cluster) create(id int, v pinetree.VolumeID) {
	c.peer(id).do(func(r *Replica) {
		r.CreateVolume(v, pinetree.FormatOpaque, func(err error) { c.say("create volume %d: %s", v, outcome(err, "done")) })
	})
}

// open opens a compute term.
func (c *cluster) open(id int, v pinetree.VolumeID, f adapter.Fence) {
	c.peer(id).do(func(r *Replica) {
		r.Open(v, f, func(o Opened, err error) {
			c.say("open term %d: %s", f.Term, outcome(err, fmt.Sprintf("durable %d, base %d", o.Durable, o.Base)))
		})
	})
}

// listen opens a stream of the writer of a term.
func (c *cluster) listen(id int, v pinetree.VolumeID, term pinetree.ComputeTerm) {
	c.peer(id).do(func(r *Replica) {
		_, err := r.Listen(v, term, func(p Progress) {
			switch {
			case p.Err != nil:
				c.say("writer of term %d: %v", term, p.Err)
			case p.Missing > 0:
				c.say("writer of term %d: committed %d, applied %d, missing %d", term, p.Committed, p.Applied, p.Missing)
			default:
				c.say("writer of term %d: committed %d, applied %d", term, p.Committed, p.Applied)
			}
		})
		if err != nil {
			c.say("writer of term %d: %v", term, err)
		}
	})
}

func newBatch(t testing.TB, v pinetree.VolumeID, term pinetree.ComputeTerm, span pinetree.Record) pinetree.Batch {
	t.Helper()
	span.Payload = fmt.Appendf(nil, "up to %d by term %d", span.LSN, term)
	b, err := storepb.EncodeBatch(v, term, []pinetree.Record{span})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// offer ships a batch.
func (c *cluster) offer(id int, b pinetree.Batch) error {
	err := errors.New("the node is down")
	c.peer(id).do(func(r *Replica) { err = r.Offer(b) })
	return err
}

func outcome(err error, good string) string {
	if err != nil {
		return err.Error()
	}
	return good
}
