// Package pace measures how long a node takes for what it does again and again,
// for those who compare it with others. It is pure.
package pace

import (
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
)

// memory is for how long a measured time says something of the present.
const memory = 5 * time.Second

// Usual is the usual time of something of late: each new time counts an eighth.
// The zero Usual knows none.
type Usual struct {
	usual time.Duration
	at    lease.Instant // of the newest time
}

// Take takes in how long it took, at its end.
func (u *Usual) Take(took time.Duration, now lease.Instant) {
	if u.known(now) {
		u.usual += (took - u.usual) / 8
	} else {
		u.usual = took
	}
	u.at = now
}

// Now is the usual time; zero when none was measured lately. One that is under
// way for longer counts as much as it has taken so far.
func (u *Usual) Now(now lease.Instant, underWay time.Duration) time.Duration {
	if !u.known(now) {
		return underWay
	}
	return max(u.usual, underWay)
}

func (u *Usual) known(now lease.Instant) bool { return u.at != 0 && now.Sub(u.at) <= memory }

// Replay measures the replaying of one group's commits: how long it takes, by one
// commit at a time, and since when nothing was replayed of what waits. The zero
// Replay has nothing that waits.
type Replay struct {
	usual  Usual
	handed pinetree.RaftIndex // the last that was handed out
	moved  lease.Instant      // when something was replayed, or began to wait
	sample pinetree.RaftIndex // whose time is taken
	began  lease.Instant      // when it was handed out
}

// Commit is an entry that goes to the engine, which has replayed up to At.
type Commit struct{ Index, At pinetree.RaftIndex }

// Hand takes note of commits up to one.
func (r *Replay) Hand(c Commit, now lease.Instant) {
	if r.handed <= c.At {
		r.moved = now
	}
	r.handed = max(r.handed, c.Index)
	if r.sample <= c.At {
		r.sample, r.began = c.Index, now
	}
}

// Reach takes note of how far the engine has replayed.
func (r *Replay) Reach(at pinetree.RaftIndex, now lease.Instant) {
	r.moved = now
	if r.sample != 0 && at >= r.sample {
		r.usual.Take(now.Sub(r.began), now)
		r.sample = 0
	}
}

// Stalled is for how long commits wait and none was replayed, by an engine that
// is at an index; zero when none waits.
func (r *Replay) Stalled(at pinetree.RaftIndex, now lease.Instant) time.Duration {
	if r.handed <= at {
		return 0
	}
	return now.Sub(r.moved)
}

// Usual is the usual time from a commit to its replay, by an engine that is at an
// index; zero when none was measured lately.
func (r *Replay) Usual(at pinetree.RaftIndex, now lease.Instant) time.Duration {
	if r.sample <= at { // none is under way, or a snapshot has overtaken it
		return r.usual.Now(now, 0)
	}
	return r.usual.Now(now, now.Sub(r.began))
}
