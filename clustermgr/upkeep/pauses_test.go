package upkeep

import (
	"strings"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

func TestAPauseIsPredictedByWhatIsKnown(t *testing.T) {
	const ms = time.Millisecond
	many := func(p *Pauses) {
		for range 2 * maxPauses {
			p.Add(3, 50*ms)
		}
		for range maxPauses {
			p.Add(4, 2*ms)
		}
	}
	for name, tc := range map[string]struct {
		before func(p *Pauses)
		l      Latency
		want   time.Duration
		words  string
	}{
		"nothing":                   {func(*Pauses) {}, Latency{Cap: 150 * ms}, 150 * ms, "nothing is known"},
		"the latency of commits":    {func(*Pauses) {}, Latency{Commit: 2 * ms, Cap: 150 * ms}, 8 * ms, "a commit of 2ms"},
		"slow commits":              {func(*Pauses) {}, Latency{Commit: 100 * ms, Cap: 150 * ms}, 250 * ms, "a commit of 100ms"},
		"moves of other groups":     {func(p *Pauses) { add(p, 2, 5*ms, 9*ms); add(p, 1, 100*ms) }, Latency{Commit: ms}, 10 * ms, "the last 3 moves of all groups"},
		"moves of the group":        {func(p *Pauses) { add(p, 2, 5*ms, 6*ms); add(p, 1, 20*ms, 9*ms, 10*ms) }, Latency{}, 10 * ms, "the last 3 moves of this group"},
		"the last ones and no more": {many, Latency{}, 2 * ms, "the last 64 moves of all groups"},
	} {
		t.Run(name, func(t *testing.T) {
			var p Pauses
			tc.before(&p)
			if got, words := p.Predict(1, tc.l); got != tc.want || !strings.Contains(words, tc.words) {
				t.Errorf("%v, %q; want %v, %q", got, words, tc.want, tc.words)
			}
		})
	}
}

func add(p *Pauses, group pinetree.GroupID, pauses ...time.Duration) {
	for _, pause := range pauses {
		p.Add(group, pause)
	}
}
