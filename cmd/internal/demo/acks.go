package demo

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

// acks is every acknowledgement that the writer heard, in order, as the compute
// node sees it. Any goroutine may call it.
type acks struct {
	mu   sync.Mutex
	list []ack
}

type ack struct {
	at      time.Time
	lsn     pinetree.LSN
	latency time.Duration
}

// hear is the writer's callback.
func (a *acks) hear(batch ship.Acked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, ack{time.Now(), batch.LSN, batch.Latency})
}

// last is the newest acknowledged LSN.
func (a *acks) last() pinetree.LSN {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) == 0 {
		return 0
	}
	return a.list[len(a.list)-1].lsn
}

// outage is an interval in which nothing was acknowledged.
type outage struct{ from, to time.Time }

func (o outage) length() time.Duration { return o.to.Sub(o.from) }

// milliseconds of the outage, rounded to a tenth.
func (o outage) milliseconds() float64 { return milliseconds(o.length()) }

func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Millisecond)*10) / 10
}

// longest finds the longest time between two acknowledgements that follow on
// each other, the second one after since: what a fault at that instant cost.
// The one before may have come before the fault.
func (a *acks) longest(since time.Time) outage {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found outage
	for i := 1; i < len(a.list); i++ {
		if between := (outage{a.list[i-1].at, a.list[i].at}); between.to.After(since) && between.length() > found.length() {
			found = between
		}
	}
	return found
}

// latencies sums up the times from first sending to acknowledgement.
type latencies struct {
	p50, p99 time.Duration
	left     int // batches that were under way in an outage, left out
}

// latencies of all batches but those that an outage kept waiting.
func (a *acks) latencies(outages ...outage) latencies {
	a.mu.Lock()
	defer a.mu.Unlock()
	var l latencies
	var all []time.Duration
	for _, k := range a.list {
		sent := k.at.Add(-k.latency)
		if slices.ContainsFunc(outages, func(o outage) bool { return sent.Before(o.to) && !k.at.Before(o.to) }) {
			l.left++
			continue
		}
		all = append(all, k.latency)
	}
	slices.Sort(all)
	if n := len(all); n > 0 {
		l.p50, l.p99 = all[n/2], all[n*99/100]
	}
	return l
}

// rate is how many MB a second were acknowledged from an instant on.
func (a *acks) rate(since time.Time) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var first, last ack
	for _, k := range a.list {
		if k.at.After(since) {
			last = k
		} else {
			first = k
		}
	}
	if last.lsn <= first.lsn {
		return 0
	}
	return math.Round(float64(last.lsn-first.lsn)/1e6/last.at.Sub(since).Seconds()*10) / 10
}
