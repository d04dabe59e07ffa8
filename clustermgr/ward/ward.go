// Package ward watches over the health of storage nodes: which of them live, which
// are slower than the others, which are in quarantine, and when silence proves
// nothing. What it sees it tells as events. It decides nothing about groups, knows
// no network, and belongs to the owner's goroutine.
package ward

import (
	"fmt"
	"iter"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/owner"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/settings"
	"github.com/pinetree-db/pinetree/lease"
)

// Ward is all nodes and what is known of them together.
type Ward struct {
	cfg   settings.Config
	owner *owner.Owner
	nodes iter.Seq[*Node]

	storm    policy.Storm
	held     string // why silence proves nothing, as it was told last
	patience policy.Patience
	compare  lease.Instant // when the nodes are compared next
}

// New makes the ward of nodes, which may come and go.
func New(cfg settings.Config, o *owner.Owner, nodes iter.Seq[*Node]) *Ward {
	return &Ward{cfg: cfg, owner: o, nodes: nodes}
}

// Thresholds are those by which a node is silent or dead now.
func (w *Ward) Thresholds() policy.Thresholds {
	return policy.Thresholds{Silent: w.cfg.SilentAfter, Dead: w.cfg.DeadAfter, Held: w.held != ""}
}

// Health of a node.
func (w *Ward) Health(n *Node, now lease.Instant) policy.Health {
	return n.Vitals.Health(now, w.Thresholds())
}

// Held says why silence proves nothing now, or nothing.
func (w *Ward) Held() string { return w.held }

// Slow says at what a node has been slower than its peers for long, or nothing.
func (w *Ward) Slow(id pinetree.NodeID) string { return w.patience.Slow(id) }

// Unwanted says why a node is not to lead as long as another can, or nothing.
func (w *Ward) Unwanted(n *Node, wall time.Time) string {
	if why := n.Is.Unwanted(wall); why != "" {
		return why
	}
	if slow := w.Slow(n.Is.ID); slow != "" {
		return "its node is slower than its peers: " + slow
	}
	return ""
}

// Look takes in how all nodes are, and tells whether the health of any has
// changed. Leaders adds what the leaders of groups report to a comparison.
func (w *Ward) Look(now lease.Instant, leaders func(*policy.Paces)) (changed bool) {
	w.lookAtStorm(now)
	if now >= w.compare {
		w.compare = now.Add(w.cfg.ComparePace)
		w.lookAtPaces(now, leaders)
	}
	wall := time.Now()
	for n := range w.nodes {
		changed = w.lookAt(n, now) || changed
		if n.Is.Quarantine != "" && !n.Is.Quarantined(wall) {
			w.sentence(n, "")
		}
	}
	return changed
}

func (w *Ward) lookAtStorm(now lease.Instant) {
	var census policy.Census
	for n := range w.nodes {
		switch w.Health(n, now) {
		case policy.Silent:
			census.Silent++
			census.All++
		case policy.Alive:
			census.All++
		}
	}
	w.storm.Look(now, census, w.cfg.Storm)
	held := w.storm.Holds(now)
	switch {
	case held == w.held:
		return
	case held == "":
		w.owner.Event(ledger.Event{Kind: "silence_counts", Cause: "it was not counted for long enough after " + w.held})
	default:
		w.owner.Event(ledger.Event{Kind: "silence_ignored", Cause: held, Outcome: "for some seconds only refused connections prove a death"})
	}
	w.held = held
}

// lookAtPaces finds the nodes that are slower than their peers.
func (w *Ward) lookAtPaces(now lease.Instant, leaders func(*policy.Paces)) {
	paces, wall := policy.NewPaces(), time.Now()
	confined := map[pinetree.NodeID]bool{}
	for n := range w.nodes {
		if w.Health(n, now) == policy.Alive && n.Vitals.Connected() {
			paces.Node(n.Is.ID, max(n.Fsync, n.FsyncPending))
			confined[n.Is.ID] = n.Is.Quarantined(wall)
		}
	}
	leaders(paces)
	w.patience.Look(paces, w.cfg.Slow, func(id pinetree.NodeID) bool { return confined[id] })
}

// lookAt keeps an event of each death and each return.
func (w *Ward) lookAt(n *Node, now lease.Instant) (changed bool) {
	h := w.Health(n, now)
	if h == n.noted {
		return false
	}
	cause := fmt.Sprintf("last heard of %v ago", n.Vitals.Silence(now).Round(time.Millisecond))
	if n.Vitals.Refused() {
		cause = "its address refuses connections"
	}
	w.owner.Event(ledger.Event{Kind: "node_" + h.String(), Node: n.Is.ID, Cause: cause})
	switch {
	case h == policy.Dead:
		n.Vitals.Bury()
		n.deaths.Note(now, w.cfg.Quarantine)
	case h == policy.Alive && n.deaths.Flaps(now, w.cfg.Quarantine):
		w.Convict(n, fmt.Sprintf("it died %d times within %v", w.cfg.Quarantine.Deaths, w.cfg.Quarantine.Window))
	}
	n.noted, n.notedAt = h, now
	w.owner.Notify()
	return true
}
