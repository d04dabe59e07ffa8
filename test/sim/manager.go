package sim

import (
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// manager is a cluster manager: a process that appoints leaders and grants
// leases while it holds the session in etcd. Nobody but the granter of package
// lease says what may be granted.
type manager struct {
	process
	peer
	session uint64 // zero while it is not active
	until   lease.Instant
	asking  bool
	charges []*charge
	vitals  []policy.Vitals // by node
}

// timing of managers.
const (
	managerTick   = 100 * time.Millisecond
	keepPace      = 200 * time.Millisecond
	etcdTimeout   = 500 * time.Millisecond
	probeTimeout  = 150 * time.Millisecond
	etcdWriteStep = 2 * time.Millisecond
)

func newManager(w *World, i int, c clock) *manager {
	m := &manager{}
	m.process = process{w: w, name: fmt.Sprintf("m%d", i+1), clock: c}
	m.peer = peer{address: firstManager + address(i), process: &m.process}
	return m
}

func (m *manager) boot() {
	m.start()
	m.stepDown("starts")
	m.every(managerTick, m.tick)
	m.every(keepPace, m.keep)
}

// stepDown ends what the manager may decide.
func (m *manager) stepDown(why string) {
	m.w.note(m.name, why)
	m.session, m.asking, m.charges, m.vitals = 0, false, nil, nil
}

// active tells whether the session is surely the manager's own: by its own
// clock, which may be the slow one, counted from before it asked.
func (m *manager) active() bool {
	if m.session != 0 && m.local() >= m.until && m.w.cfg.Mutant != EternalManager {
		m.stepDown("gives its session up")
	}
	return m.session != 0
}

func (m *manager) tick() {
	if !m.active() {
		m.campaign()
		return
	}
	for i := range m.vitals {
		m.probe(i)
	}
	for _, c := range m.charges {
		if m.active() {
			c.decide()
		}
	}
}

func (m *manager) thresholds() policy.Thresholds {
	return policy.Thresholds{Silent: m.w.plan.silent, Dead: m.w.plan.dead}
}

// health is what the manager thinks of a node.
func (m *manager) health(i int) policy.Health { return m.vitals[i].Health(m.local(), m.thresholds()) }

// probe asks a silent node for a sign of life. The connection to one that is
// down is refused at once.
func (m *manager) probe(i int) {
	v, n := &m.vitals[i], m.w.nodes[i]
	if !v.WantsProbe(m.local(), m.thresholds()) {
		return
	}
	v.ProbeBegins(m.local())
	ended := false
	end := func(answered, refused bool) {
		if !ended {
			ended = true
			v.ProbeEnds(m.local(), answered, refused)
		}
	}
	request := delivery{lane: lane{from: m.address, to: n.address}}
	back := delivery{lane: lane{from: n.address, to: m.address}}
	m.w.net.send(request, func() {
		if !n.up {
			m.w.net.send(back, func() { m.after(0, func() { end(false, true) }) })
			return
		}
		n.after(0, func() { m.w.net.send(back, func() { m.after(0, func() { end(true, false) }) }) })
	})
	m.after(probeTimeout, func() { end(false, false) })
}

// ask does something at etcd and takes the answer, unless it comes too late.
func (m *manager) ask(do func() (answer func()), late func()) {
	w, session, answered := m.w, m.session, false
	request := delivery{lane: lane{from: m.address, to: etcdAddress}}
	back := delivery{lane: lane{from: etcdAddress, to: m.address}}
	w.net.send(request, func() {
		w.after(w.around(etcdWriteStep), func() {
			answer := do()
			w.net.send(back, func() {
				m.after(0, func() {
					if !answered && m.session == session {
						answered = true
						answer()
					}
				})
			})
		})
	})
	m.after(etcdTimeout, func() {
		if !answered && m.session == session {
			answered = true
			late()
		}
	})
}

// campaign tries to become the active manager.
func (m *manager) campaign() {
	if m.asking {
		return
	}
	m.asking = true
	w, asked := m.w, m.local()
	m.ask(func() func() {
		session := w.etcd.claim(m, w.now)
		known := make([]stored, w.plan.groups)
		for i := range known {
			known[i] = w.etcd.records[groupNumber(i)]
		}
		return func() {
			m.asking = false
			if session != 0 {
				m.begin(session, asked, known)
			}
		}
	}, func() { m.asking = false })
}

// begin takes the office over: whatever the manager before has granted is
// waited for.
func (m *manager) begin(session uint64, asked lease.Instant, known []stored) {
	w := m.w
	m.session = session
	m.claimed(asked)
	since := m.local()
	w.note(m.name, "is active, session", session)
	if session > 1 {
		w.mark(ManagerFailover)
	}
	m.charges, m.vitals = nil, make([]policy.Vitals, len(w.nodes))
	for i := range m.vitals {
		m.vitals[i].Hear(since)
	}
	for i, s := range known {
		c := &charge{m: m, group: groupNumber(i), revision: s.revision, reports: make([]report, len(w.nodes))}
		if w.cfg.Mutant == ImpatientManager {
			since = m.local().Add(-time.Hour)
		}
		c.granter = lease.NewGranter(w.plan.rules, s.record, since)
		m.charges = append(m.charges, c)
	}
}

// claimed counts the session from before it was asked for.
func (m *manager) claimed(asked lease.Instant) {
	m.until = asked.Add(time.Duration(float64(sessionTime) * (1 - m.w.plan.rules.MaxDrift)))
}

// keep lengthens the session.
func (m *manager) keep() {
	if !m.active() {
		return
	}
	w, session, asked := m.w, m.session, m.local()
	m.ask(func() func() {
		kept := w.etcd.keep(session, w.now)
		return func() {
			if !kept {
				m.stepDown("lost its session")
				return
			}
			m.claimed(asked)
		}
	}, func() {})
}

// report is what a node last said of its replica of a group.
type report struct {
	status *wirepb.ReplicaStatus // nil when there was none
	fsync  time.Duration         // for how long the fsync under way ran
	heard  lease.Instant
}

// onHeartbeat takes what a node says of its replicas, and answers with grants.
func (m *manager) onHeartbeat(n *node, h heartbeatMessage) {
	if !m.active() {
		return
	}
	m.vitals[n.id-1].Hear(m.local())
	m.vitals[n.id-1].Connect()
	var grants []lease.Grant
	for i, c := range m.charges {
		status := h.statuses[i]
		c.reports[n.id-1] = report{status: status, fsync: h.fsync, heard: m.local()}
		if grant, ok := c.claim(n, h, status); ok {
			grants = append(grants, grant)
		}
	}
	if len(grants) == 0 {
		return
	}
	charges := m.charges
	// Time passes between the decision and the answer, at times a lot of it.
	m.after(m.w.span(m.w.plan.grantStep), func() {
		m.w.net.send(delivery{lane: lane{from: m.address, to: n.address}, mayRepeat: true}, func() {
			n.after(0, func() { n.granted(h, grants) })
		})
		for _, g := range grants {
			charges[g.Group-1].granter.Answered(g.Appointment, m.local())
		}
	})
}

// nodeCall asks a node for something; the answer comes back to the same session
// of the manager or not at all.
func (m *manager) nodeCall(n *node, handle func(answer func(func()))) {
	session := m.session
	m.w.net.call(m.address, &n.peer, func(answer func(func())) {
		handle(func(answered func()) {
			answer(func() {
				m.after(0, func() {
					if m.session == session && m.active() {
						answered()
					}
				})
			})
		})
	})
}
