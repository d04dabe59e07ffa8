package backlog

import (
	"testing"
	"time"
)

// TestWritersRestWhileTheRemoverFallsBehind goes through a remover that is slower than
// its writer.
func TestWritersRestWhileTheRemoverFallsBehind(t *testing.T) {
	const mib = 1 << 20
	var b Backlog
	if rest := b.Written(1000 * mib); rest != 0 {
		t.Errorf("with nothing to be removed a writer rests for %v", rest)
	}
	b.Begin()
	if rest := b.Written(slackBytes); rest != 0 {
		t.Errorf("within the slack a writer rests for %v", rest)
	}
	first := b.Written(mib)
	b.Written(slackBytes / 2)
	later := b.Written(mib)
	if first <= 0 || first > restPerMiB/10 || later <= 20*first {
		t.Errorf("a little beyond the slack a writer rests for %v, far beyond for %v", first, later)
	}
	if rest := b.Written(500 * mib); rest != maxRest {
		t.Errorf("a writer rests for %v, want %v", rest, maxRest)
	}
	b.Removed(1000*mib, true)
	if rest := b.Written(slackBytes); rest != 0 {
		t.Errorf("when more was removed than written, a writer rests for %v", rest)
	}
	b.Written(slackBytes)
	b.Removed(mib, false)
	if rest := b.Written(1000 * mib); rest != 0 {
		t.Errorf("when nothing is left, a writer rests for %v", rest)
	}
}

func TestSpaceIsAskedBackWhenMuchWasRemovedOrForLong(t *testing.T) {
	var b Backlog
	now := time.Now()
	for i, c := range []struct {
		after     time.Duration
		removed   int
		dropped   bool
		ask, much bool
		next      time.Duration
	}{
		{0, 0, false, true, false, AskEvery}, // for the first time
		{time.Second, AskBytes - 1, false, false, false, askRemoved - time.Second},
		{time.Second, 1, false, true, true, AskEvery},
		{time.Second, 1, false, false, false, askRemoved - time.Second},
		{askRemoved, 0, false, true, true, AskEvery},
		{time.Second, 0, true, true, true, AskEvery},
		{time.Second, 0, false, false, false, AskEvery - time.Second},
		{AskEvery, 0, false, true, false, AskEvery},
	} {
		now = now.Add(c.after)
		b.Removed(c.removed, false)
		if ask, much, next := b.Ask(c.dropped, now); ask != c.ask || much != c.much || next != c.next {
			t.Errorf("step %d: %v, %v, %v, want %v, %v, %v", i, ask, much, next, c.ask, c.much, c.next)
		}
	}
}
