package group

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/raftlog"
)

// TestStories runs the scripts in testdata: a small cluster, step by step.
// `go test ./logservice/group -rewrite` writes them anew.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var c *cluster
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "cluster" {
				c = newCluster(t, number(d, "nodes", 3), DefaultOptions())
				return "ok\n"
			}
			c.t, c.story = t, nil
			script{c, d}.run()
			if len(c.story) == 0 {
				return "ok\n"
			}
			return strings.Join(c.story, "\n") + "\n"
		})
	})
}

// script is one command of a story.
type script struct {
	c *cluster
	d *datadriven.TestData
}

func number(d *datadriven.TestData, name string, otherwise int) int {
	n := otherwise
	d.MaybeScanArgs(&testing.T{}, name, &n)
	return n
}

func (s script) number(name string) int { return number(s.d, name, 0) }

func (s script) run() {
	steps := []func() bool{s.orders, s.faults, s.writing, s.looking}
	for _, step := range steps {
		if step() {
			return
		}
	}
	s.c.t.Fatalf("%s: no command %q", s.d.Pos, s.d.Cmd)
}

// orders are what a manager asks for, and time.
func (s script) orders() bool {
	c, id := s.c, s.number("node")
	ms := time.Duration(s.number("ms")) * time.Millisecond
	switch s.d.Cmd {
	case "appoint":
		c.appoint(id, Appointment{ID: pinetree.AppointmentID(s.number("id")), Wait: s.d.HasArg("wait")})
	case "lead":
		c.lead(id, pinetree.AppointmentID(s.number("id")))
	case "grant":
		if !c.grant(id, pinetree.AppointmentID(s.number("appointment")), ms) {
			c.say("the grant does not count")
		}
	case "release":
		c.peer(id).do(func(r *Replica) { r.Release(pinetree.AppointmentID(s.number("appointment"))) })
	case "transfer":
		o := TransferOrder{Appointment: pinetree.AppointmentID(s.number("release")), To: pinetree.NodeID(s.number("to")), MaxPause: ms, MaxLag: s.number("lag"), Check: s.d.HasArg("check")}
		c.peer(id).do(func(r *Replica) {
			r.Transfer(o, func(t TransferResult, err error) {
				if t.Lags {
					t.Reason += ", which may pass"
				}
				c.say("transfer: %s", outcome(err, fmt.Sprintf("released %v, transferred %v, pause %v; %s", t.Released, t.Transferred, t.Pause, cmp.Or(t.Reason, "done"))))
			})
		})
	case "run":
		c.run()
	case "pass":
		c.pass(ms)
	case "turn":
		c.peer(id).turn()
	case "save":
		c.peer(id).save()
	case "apply":
		c.peer(id).apply()
	default:
		return false
	}
	return true
}

// faults are what goes wrong, and what is mended.
func (s script) faults() bool {
	c, id := s.c, s.number("node")
	l := letter{from: pinetree.NodeID(s.number("from")), to: pinetree.NodeID(s.number("to"))}
	s.d.MaybeScanArgs(c.t.(*testing.T), "type", &l.kind)
	switch s.d.Cmd {
	case "isolate":
		c.isolate(id, true)
	case "heal":
		c.isolate(id, false)
	case "disk":
		c.peer(id).diskHung = s.d.HasArg("hangs")
	case "replay":
		c.peer(id).lazy = s.d.HasArg("waits")
	case "deliver", "lose":
		messages := c.take(l)
		for _, m := range messages {
			c.say("%s from %d to %d", m.GetType(), m.GetFrom(), m.GetTo())
		}
		if s.d.Cmd == "deliver" {
			c.deliver(messages)
		}
	case "hold":
		c.held = ""
		s.d.MaybeScanArgs(c.t.(*testing.T), "type", &c.held)
	case "flush":
		at, err := c.peer(id).engine.Flush()
		c.must(err)
		c.say("engine of node %d is durable up to index %d", id, at.Index)
	case "crash":
		c.peer(id).crash(s.number("keep"))
	case "forget":
		point := raftlog.Point{Index: 1, Term: 1}
		c.must(c.peer(id).log.Save([]raftlog.Update{{Group: theGroup, Restart: &point, MustSync: true}}))
	case "start":
		if err := c.peer(id).start(); err != nil {
			c.say("node %d refuses to start: %v", id, err)
		}
	default:
		return false
	}
	return true
}

// writing is what compute nodes ask for.
func (s script) writing() bool {
	c, id := s.c, s.number("node")
	v, term := pinetree.VolumeID(number(s.d, "volume", 7)), pinetree.ComputeTerm(s.number("term"))
	switch s.d.Cmd {
	case "create":
		c.create(id, v)
	case "volume":
		c.create(id, v)
		c.run()
		c.open(id, v, adapter.Fence{Term: term})
		c.run()
		c.listen(id, v, term)
		c.run()
	case "open":
		c.open(id, v, adapter.Fence{Term: term, Base: pinetree.LSN(s.number("base"))})
	case "listen":
		c.listen(id, v, term)
	case "offer":
		for _, line := range strings.Fields(s.d.Input) {
			var span pinetree.Record
			if _, err := fmt.Sscanf(line, "%d-%d", &span.Prev, &span.LSN); err != nil {
				c.t.Fatalf("%s: %q: %v", s.d.Pos, line, err)
			}
			if err := c.offer(id, newBatch(c.t, v, term, span)); err != nil {
				c.say("%s: %v", line, err)
			}
		}
	case "resolve":
		c.peer(id).do(func(r *Replica) {
			o, at, err := r.Resolve(v, adapter.Append{Term: term, LSN: pinetree.LSN(s.number("lsn"))})
			c.say("%s", outcome(err, fmt.Sprintf("%s, durable %d, term %d", o, at.LSN, at.Term())))
		})
	default:
		return false
	}
	return true
}

// looking is what readers and operators ask for.
func (s script) looking() bool {
	c, id := s.c, s.number("node")
	switch s.d.Cmd {
	case "read":
		c.read(id, s.d.CmdArgs[1].Key)
	case "wire":
		for _, m := range c.wire {
			c.say("%s from %d to %d", m.GetType(), m.GetFrom(), m.GetTo())
		}
	case "log":
		reader, err := c.peer(id).engine.Volume(pinetree.VolumeID(number(s.d, "volume", 7)))
		c.must(err)
		c.must(reader.Log(reader.Position().Base, func(b pinetree.Batch) error {
			c.say("(%d, %d] of term %d", b.Prev, b.LSN, b.Term)
			return nil
		}))
	case "status":
		for _, p := range c.peers {
			c.say("%s", p.describe())
		}
	case "watermarks":
		c.peer(id).do(func(r *Replica) {
			w, err := r.Watermarks(pinetree.VolumeID(number(s.d, "volume", 7)))
			c.must(err)
			c.say("applied %d, committed %d, ordered %d, received %d", w.Applied, w.Committed, w.Ordered, w.Received)
		})
	default:
		return false
	}
	return true
}

// describe is a line about a node.
func (p *peer) describe() string {
	if p.replica == nil {
		return fmt.Sprintf("node %d is down", p.id)
	}
	s, err := p.replica.Status()
	p.c.must(err)
	line := fmt.Sprintf("node %d: raft term %d, log to (%d, %d), committed %d, applied %d",
		p.id, s.RaftTerm, s.LastTerm, s.LastIndex, s.Committed, s.Applied.Index)
	if s.Leader {
		line += ", leads"
	}
	if s.Activated && p.c.now < s.LeaseUntil {
		line += ", holds the lease"
	}
	if s.Stopped != nil {
		line += ", stopped"
	}
	return line
}
