package ward

import (
	"fmt"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
)

// Convict puts a node into quarantine, for having lost a leadership because it was
// sick, or for dying again and again: once for all that it loses meanwhile. It is
// recorded beside the owner, and told as an event when it is.
func (w *Ward) Convict(n *Node, why string) {
	if n.Is.Quarantine == "" {
		w.sentence(n, why)
	}
}

// sentence records the begin of a node's quarantine, or without a reason its end.
func (w *Ward) sentence(n *Node, why string) {
	if n.sentencing {
		return
	}
	n.sentencing = true
	var next ledger.Node
	prepare := func() (d ledger.Decision, _ error) {
		if n.Gone {
			return d, nil
		}
		next = n.Is
		next.Quarantine = why
		event := ledger.Event{Kind: "quarantine_ended", Node: next.ID, Cause: "its time is over", Outcome: "it may lead again; it was because " + n.Is.Quarantine}
		if why != "" {
			wall := time.Now()
			length, number := w.cfg.Quarantine.Sentence(n.Is.Quarantines, wall.Sub(time.UnixMilli(n.Is.QuarantinedUntil)))
			next.QuarantinedUntil, next.Quarantines = wall.Add(length).UnixMilli(), number
			event = ledger.Event{Kind: "quarantined", Node: next.ID, Cause: why,
				Outcome: fmt.Sprintf("not appointed for %v while others can lead; number %d in a row", length.Round(time.Second), next.Quarantines)}
		}
		return ledger.Decide(event, n.Put(next.Key(), next)), nil
	}
	commit := func(revision int64) { n.Kept = ledger.Kept[ledger.Node]{Is: next, Revision: revision} }
	w.owner.Spawn(func() {
		err := w.owner.Persist(w.owner.Context(), prepare, commit)
		w.owner.Tell(func() { n.sentencing = false })
		if err != nil {
			w.cfg.Log.Warn("a quarantine could not be recorded", "node", n.Is.ID, "reason", why, "err", err)
		}
	})
}
