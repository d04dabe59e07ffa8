package bench

import (
	"context"
	"time"
)

const (
	// maxRate bounds a paced load; one process makes no more records than that.
	maxRate = 10_000_000
	// paceInterval is how often a paced load appends what is due, at high rates.
	paceInterval = 250 * time.Microsecond
)

// pace appends records at the rate, spread over the lanes. A record's time
// begins when it was due, even if appending was held up: a slow answer then
// counts for all that it delayed.
func (l *load) pace(ctx context.Context, stop <-chan struct{}) error {
	defer preciseSleep()()
	plan := schedule{l.cfg.Rate}
	began := time.Now()
	for sent := int64(0); ; {
		for due := plan.due(time.Since(began)); sent < due; sent++ {
			select {
			case <-stop:
				return nil
			default:
			}
			w := waiting{since: began.Add(plan.at(sent))}
			if err := l.lanes[sent%int64(len(l.lanes))].append(ctx, &w); err != nil {
				return err
			}
		}
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
			sleep(min(time.Until(began.Add(plan.at(sent))), maxSleep))
		}
	}
}

// maxSleep bounds how long a slow pace does not look whether it is to end.
const maxSleep = 50 * time.Millisecond

// schedule tells when the records of a paced load are due. At high rates those
// of one interval are due together, at its end, so that the load process does
// not wake for each.
type schedule struct{ rate float64 }

func (s schedule) grouped() bool { return s.rate*paceInterval.Seconds() > 1 }

// at is when the i-th record is due, counted from zero.
func (s schedule) at(i int64) time.Duration {
	each := time.Duration(float64(i+1) / s.rate * float64(time.Second))
	if !s.grouped() {
		return each
	}
	return (each + paceInterval - 1).Truncate(paceInterval)
}

// due is how many records are due at a time.
func (s schedule) due(now time.Duration) int64 {
	if s.grouped() {
		now = now.Truncate(paceInterval)
	}
	n := int64(s.rate * now.Seconds())
	// Rounding may be off by one either way.
	for s.at(n) <= now {
		n++
	}
	for n > 0 && s.at(n-1) > now {
		n--
	}
	return n
}
