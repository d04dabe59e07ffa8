package sim

import (
	"time"

	"github.com/pinetree-db/pinetree/lease"
)

// clock is a machine's CLOCK_BOOTTIME: it runs on through pauses, and faster or
// slower than true time by a constant rate.
type clock struct {
	start lease.Instant // at the start of the world
	ppm   int64         // how much faster than true time, in millionths
}

// at reads the clock at a true time.
func (c clock) at(now time.Duration) lease.Instant {
	return c.start.Add(now + time.Duration(int64(now)/1_000*c.ppm/1_000))
}

// until is the true time from now on after which the clock surely shows the
// instant.
func (c clock) until(at lease.Instant, now time.Duration) time.Duration {
	d := at.Sub(c.at(now))
	if d <= 0 {
		return 0
	}
	wait := time.Duration(float64(d) / (1 + float64(c.ppm)/1e6))
	for c.at(now+wait) < at {
		wait += time.Microsecond
	}
	return wait
}

// process is something that crashes, starts again and pauses: a node or a
// manager. While it is paused its clock runs and what happens to it waits.
type process struct {
	w        *World
	name     string
	clock    clock
	up       bool
	life     int // counts the starts
	paused   time.Duration
	deferred []postponed
}

type postponed struct {
	life int
	do   func()
}

// local is what the process reads from its clock.
func (p *process) local() lease.Instant { return p.clock.at(p.w.now) }

// after lets the process do something later: not at all when it crashes before,
// and later still when it pauses.
func (p *process) after(d time.Duration, do func()) {
	life := p.life
	p.w.after(d, func() { p.run(life, do) })
}

// every repeats something at about the same pace of the process's life.
func (p *process) every(pace time.Duration, do func()) {
	p.after(p.w.around(pace), func() {
		do()
		p.every(pace, do)
	})
}

// run does something of a life of the process now, or after the pause.
func (p *process) run(life int, do func()) {
	switch {
	case !p.up || p.life != life:
	case p.w.now < p.paused || len(p.deferred) > 0:
		p.deferred = append(p.deferred, postponed{life, do})
	default:
		do()
	}
}

// pause stops the process for a time while the world goes on.
func (p *process) pause(d time.Duration) {
	p.w.note(p.name, "pauses for µs", uint64(d.Microseconds()))
	longer := p.w.now + d - max(p.paused, p.w.now)
	p.paused = max(p.paused, p.w.now+d)
	if p.w.cfg.Mutant == StoppedClock {
		p.clock.start = p.clock.start.Add(-max(0, longer))
	}
	p.w.after(p.paused-p.w.now, p.resume)
}

func (p *process) resume() {
	if p.w.now < p.paused {
		return
	}
	for len(p.deferred) > 0 && p.w.now >= p.paused {
		first := p.deferred[0]
		p.deferred = p.deferred[1:]
		if p.up && p.life == first.life {
			first.do()
		}
	}
}

// start begins a new life.
func (p *process) start() {
	p.up = true
	p.life++
	p.paused = 0
	p.deferred = nil
}

// kill ends the life, and with it all that it was about to do.
func (p *process) kill() {
	p.up = false
	p.deferred = nil
}
