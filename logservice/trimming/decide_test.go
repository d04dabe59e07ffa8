package trimming_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/trimming"
)

// grown is a volume that grew by 100 bytes and 10 LSNs a minute, from base 100 on,
// and what was remembered of it every minute.
func grown(minutes int) (*trimming.History, trimming.Question) {
	h, q := &trimming.History{}, trimming.Question{Volume: pinetree.VolumePosition{LSN: 100, Base: 100}}
	for range minutes {
		q.Now += time.Minute
		q.Volume.LSN += 10
		q.Volume.LogBytes += 100
		h.Look(q.Now, q.Volume)
	}
	q.Flushed = q.Volume.LSN
	return h, q
}

func TestWhatIsKeptAndWhy(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*trimming.Question)
		to      pinetree.LSN
		frees   int64
		lost    int
		reason  trimming.Reason
		because string
	}{
		"no retention": {func(*trimming.Question) {}, 0, 0, 0, trimming.Unset, "nothing is to be truncated: no retention is set"},
		"by age": {func(q *trimming.Question) { q.Volume.Settings.KeepFor = 10 * time.Minute },
			1000, 9000, 0, trimming.Age, "younger than 10m"},
		"younger than all": {func(q *trimming.Question) { q.Volume.Settings.KeepFor = 24 * time.Hour },
			0, 0, 0, trimming.Age, "younger than 24h"},
		"at rest for longer": {func(q *trimming.Question) { q.Volume.Settings.KeepFor, q.Now = time.Minute, q.Now+time.Minute },
			1100, 10000, 0, trimming.Age, "younger than 1m"},
		"by bytes": {func(q *trimming.Question) { q.Volume.Settings.KeepBytes = 2500 },
			850, 7500, 0, trimming.Bytes, "less than 2.4 KiB of log follow"},
		"more than there is": {func(q *trimming.Question) { q.Volume.Settings.KeepBytes = 2 << 30 },
			0, 0, 0, trimming.Bytes, "less than 2 GiB of log follow"},
		"by age, which gives more": {func(q *trimming.Question) {
			q.Volume.Settings = pinetree.VolumeSettings{KeepFor: 10 * time.Minute, KeepBytes: 2500}
		}, 1000, 9000, 0, trimming.Age, "younger than 10m"},
		"by bytes, which give more": {func(q *trimming.Question) {
			q.Volume.Settings = pinetree.VolumeSettings{KeepFor: 24 * time.Hour, KeepBytes: 2500}
		}, 850, 7500, 0, trimming.Bytes, "less than 2.4 KiB of log follow"},
		"a slot holds it": {func(q *trimming.Question) {
			q.Volume.Settings.KeepBytes = 2500
			q.Volume.Slots = []pinetree.Slot{slot("ahead", 900), slot("backup", 400), slot("replica", 700)}
		}, 400, 3000, 0, trimming.Slot, "slot backup keeps 6.8 KiB above 0/190"},
		"a slot that is lost": {func(q *trimming.Question) {
			q.Volume.Settings.KeepBytes = 2500
			q.Volume.Slots = []pinetree.Slot{{Name: "backup", LSN: 400, Lost: true}}
		}, 850, 7500, 0, trimming.Bytes, "less than 2.4 KiB of log follow"},
		"a slot over its bound": {func(q *trimming.Question) {
			q.Volume.Settings.KeepBytes = 2500
			q.Volume.Slots = []pinetree.Slot{{Name: "backup", LSN: 400, MaxBytes: 6999}, {Name: "other", LSN: 800, MaxBytes: 3000}}
		}, 800, 7000, 1, trimming.Slot, "slot other keeps 2.9 KiB above 0/320"},
		"a slot just within its bound": {func(q *trimming.Question) {
			q.Volume.Settings.KeepBytes = 2500
			q.Volume.Slots = []pinetree.Slot{{Name: "backup", LSN: 400, MaxBytes: 7000}}
		}, 400, 3000, 0, trimming.Slot, "slot backup keeps 6.8 KiB above 0/190"},
		"not on the disk": {func(q *trimming.Question) { q.Volume.Settings.KeepBytes, q.Flushed = 2500, 600 },
			600, 5000, 0, trimming.Flush, "what is above 0/258 is not surely on this replica's disk yet"},
		"an order": {func(q *trimming.Question) { q.Volume.Settings.KeepFor, q.Order = 24*time.Hour, 777 },
			777, 6770, 0, trimming.Unset, "nobody has asked for more to go"},
		"an order beyond a slot": {func(q *trimming.Question) {
			q.Order, q.Volume.Slots = 777, []pinetree.Slot{slot("backup", 400)}
		}, 400, 3000, 0, trimming.Slot, "slot backup keeps 6.8 KiB above 0/190"},
		"an order beyond the end": {func(q *trimming.Question) { q.Order = 1 << 40 },
			1100, 10000, 0, trimming.Unset, "nobody has asked for more to go"},
		"nothing is there": {func(q *trimming.Question) { q.Volume.Truncated, q.Volume.TruncatedBytes = 1100, 10000 },
			0, 0, 0, trimming.Nothing, "nothing is kept: the log is truncated up to its end"},
	} {
		t.Run(name, func(t *testing.T) {
			h, q := grown(100)
			c.change(&q)
			d := h.Decide(q)
			if d.To != c.to || d.Frees != c.frees || len(d.Lost) != c.lost || d.Reason != c.reason || d.Because != c.because {
				t.Fatalf("%+v; want up to %d, %d bytes, %d slots lost, %s: %s", d, c.to, c.frees, c.lost, c.reason, c.because)
			}
			if change := d.Change(1); change != nil {
				after := trimming.Change(q.Volume, change)
				if d.To > 0 && (after.Truncated != d.To || after.TruncatedBytes != d.Bytes) {
					t.Fatalf("replayed, it is %+v, decided was %+v", after, d)
				}
				if len(d.Lost) == 1 && !after.Slots[0].Lost {
					t.Fatalf("the slot is not lost: %+v", after.Slots)
				}
			} else if d.To > 0 || len(d.Lost) > 0 {
				t.Fatal("there is something to change, and no change")
			}
		})
	}
}

func TestWhatWasBeforeARestartIsYoungAndItsBytesCount(t *testing.T) {
	_, q := grown(100)
	var h trimming.History // of a process that started a minute ago
	h.Look(q.Now, q.Volume)
	q.Now += time.Minute
	q.Volume.Settings.KeepFor = 2 * time.Minute
	if d := h.Decide(q); d.To != 0 {
		t.Fatalf("%+v: what is not known to be old was given up", d)
	}
	q.Volume.Settings = pinetree.VolumeSettings{KeepBytes: 2500}
	if d := h.Decide(q); d.To != 850 || d.Bytes != 7500 {
		t.Fatalf("%+v: want the log up to 850 to go", d)
	}
}

func TestAnotherStateIsAnotherHistory(t *testing.T) {
	h, q := grown(100)
	q.Volume.LSN, q.Volume.LogBytes = 300, 2000 // another replica's snapshot, or a volume made anew
	q.Now += time.Minute
	h.Look(q.Now, q.Volume)
	q.Volume.Settings.KeepFor = 2 * time.Minute
	q.Flushed = 300
	if d := h.Decide(q); d.To != 0 {
		t.Fatalf("%+v: the ages of another state count", d)
	}
}

func TestAStepIsWorthIt(t *testing.T) {
	step := trimming.Step{MinBytes: 100, Share: 10, Patience: time.Minute}
	v := pinetree.VolumePosition{LogBytes: 5000}
	for name, c := range map[string]struct {
		d     trimming.Decision
		since time.Duration
		want  bool
	}{
		"nothing":               {trimming.Decision{}, time.Hour, false},
		"much":                  {trimming.Decision{To: 1, Frees: 500}, 0, true},
		"little of much":        {trimming.Decision{To: 1, Frees: 499}, time.Minute - 1, false},
		"little, for long":      {trimming.Decision{To: 1, Frees: 1}, time.Minute, true},
		"a slot is to be ended": {trimming.Decision{Lost: []pinetree.Slot{{}}}, 0, true},
	} {
		if got := step.Worth(c.d, v, c.since); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if step.Worth(trimming.Decision{To: 1, Frees: 99}, pinetree.VolumePosition{LogBytes: 200}, 0) {
		t.Error("99 bytes of 200 are worth a step of 100")
	}
}

// world is a volume that grows at any pace, and the true ends of its log over time.
type world struct {
	h      trimming.History
	q      trimming.Question
	bytes  map[pinetree.LSN]int64         // up to each end
	ends   []pinetree.LSN                 // in order
	became map[pinetree.LSN]time.Duration // when an end was the end
}

// TestNoRetentionIsCutShort lets a volume live, be truncated as decided, and
// restart, and compares with all that ever was.
func TestNoRetentionIsCutShort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{bytes: map[pinetree.LSN]int64{}, became: map[pinetree.LSN]time.Duration{}}
		w.q.Volume.Settings = pinetree.VolumeSettings{KeepFor: time.Duration(rapid.Int64Range(0, 3000).Draw(t, "for"))}
		held := rapid.Bool().Draw(t, "held")
		for range rapid.IntRange(100, 600).Draw(t, "steps") {
			w.grow(t)
			d := w.h.Decide(w.q)
			if d.To == 0 {
				continue
			}
			if young := w.q.Now - w.q.Volume.Settings.KeepFor; w.until(d.To) > young {
				t.Fatalf("%d was the end until %d, which is after %d, and goes", d.To, w.until(d.To), young)
			}
			if rapid.IntRange(0, 3).Draw(t, "carried out") == 0 {
				w.q.Volume = trimming.Change(w.q.Volume, d.Change(1))
			}
			if held && len(w.q.Volume.Slots) == 0 {
				w.q.Volume.Slots = []pinetree.Slot{slot("holder", w.q.Volume.LSN)}
			}
			if s := w.q.Volume.Slots; len(s) > 0 && w.q.Volume.Truncated > s[0].LSN {
				t.Fatalf("truncated up to %d, a slot holds %d", w.q.Volume.Truncated, s[0].LSN)
			}
		}
	})
}

func (w *world) grow(t *rapid.T) {
	w.q.Now += time.Duration(rapid.Int64Range(1, 40).Draw(t, "time"))
	if rapid.IntRange(0, 50).Draw(t, "restart") == 0 {
		w.h = trimming.History{}
	}
	if n := rapid.Int64Range(0, 200).Draw(t, "bytes"); n > 0 {
		w.q.Volume.LSN += pinetree.LSN(rapid.Uint64Range(1, 99).Draw(t, "lsn"))
		w.q.Volume.LogBytes += n
		w.q.Flushed = w.q.Volume.LSN
		w.ends = append(w.ends, w.q.Volume.LSN)
		w.bytes[w.q.Volume.LSN], w.became[w.q.Volume.LSN] = w.q.Volume.LogBytes, w.q.Now
	}
	w.h.Look(w.q.Now, w.q.Volume)
}

// until is when something above an end, at which the log ended once, became
// readable first: before it, everybody who read the newest needs that end or one
// below it.
func (w *world) until(lsn pinetree.LSN) time.Duration {
	i, _ := slices.BinarySearch(w.ends, lsn)
	return w.became[w.ends[i]]
}

func TestBytesAreKeptAsSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{bytes: map[pinetree.LSN]int64{}, became: map[pinetree.LSN]time.Duration{}}
		keep := rapid.Int64Range(2000, 20_000).Draw(t, "keep")
		w.q.Volume.Settings = pinetree.VolumeSettings{KeepBytes: keep}
		for range rapid.IntRange(100, 600).Draw(t, "steps") {
			w.grow(t)
			d := w.h.Decide(w.q)
			if d.To == 0 {
				continue
			}
			left := w.q.Volume.LogBytes - d.Bytes
			if left < keep-1 || left > keep+keep/16+200+w.q.Volume.LogBytes/50 {
				t.Fatalf("%d bytes are left, %d are to be kept", left, keep)
			}
			w.q.Volume = trimming.Change(w.q.Volume, d.Change(1))
		}
	})
}
