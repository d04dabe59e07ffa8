package quota

import "time"

// bucket is what somebody owes who may use so much in a second. What comes is let
// in as soon as nearly nothing is owed, however much it is, and owed from then on:
// a batch may be larger than what a second allows, and is not to be cut.
type bucket struct {
	owed float64
	at   time.Time // when owed was right
}

// perSecond is how much may be used in a second.
type perSecond int64

// burst is for how long somebody who has used nothing may go on without a wait.
const burst = 100 * time.Millisecond

// take uses an amount, which may begin after the wait that it returns, unless that
// is longer than patience: then nothing is used.
func (b *bucket) take(now time.Time, amount int64, rate perSecond, patience time.Duration) (wait time.Duration, taken bool) {
	if passed := now.Sub(b.at); passed > 0 {
		b.owed = max(0, b.owed-passed.Seconds()*float64(rate))
		b.at = now
	}
	if over := b.owed - float64(rate)*burst.Seconds(); over > 0 {
		wait = time.Duration(over / float64(rate) * float64(time.Second))
	}
	if wait > patience {
		return wait, false
	}
	b.owed += float64(amount)
	return wait, true
}
