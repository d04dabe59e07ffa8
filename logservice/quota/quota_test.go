package quota

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
)

// TestNobodyUsesMoreThanTheRate walks through takes at random times: what was let
// in up to any moment is at most what the rate allows, the burst, and one amount
// that was let in last; and nobody waits while that much is not used up.
func TestNobodyUsesMoreThanTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := perSecond(rapid.SampledFrom([]int64{1, 7, 1000, 1 << 20, 1 << 30}).Draw(t, "rate"))
		start := time.Unix(1000, 0)
		now, used, last := start, 0.0, 0.0
		var b bucket
		for range rapid.IntRange(1, 60).Draw(t, "takes") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pause")))
			amount := rapid.Int64Range(1, int64(rate)*3).Draw(t, "amount")
			patience := time.Duration(rapid.SampledFrom([]int64{0, int64(time.Second)}).Draw(t, "patience"))
			wait, taken := b.take(now, amount, rate, patience)
			if taken != (wait <= patience) {
				t.Fatalf("taken %v with a wait of %v and a patience of %v", taken, wait, patience)
			}
			if !taken {
				if wait > time.Duration((used+last)/float64(rate)*float64(time.Second))+time.Second {
					t.Fatalf("a wait of %v, and only %.0f was used at %d a second", wait, used, rate)
				}
				continue
			}
			begins := now.Add(wait)
			used += last
			last = float64(amount)
			if most := (begins.Sub(start) + burst + time.Millisecond).Seconds() * float64(rate); used > most {
				t.Fatalf("%.0f was used before %v, and %d a second allow %.0f", used, begins.Sub(start), rate, most)
			}
		}
	})
}

func TestWhoHasUsedNothingWaitsForNothing(t *testing.T) {
	var b bucket
	if wait, taken := b.take(time.Unix(1000, 0), 1<<40, 10, 0); wait != 0 || !taken {
		t.Fatalf("the first one waits %v, %v", wait, taken)
	}
}

// volume is one whose settings a test changes while others look.
type volume struct {
	mu sync.Mutex
	at pinetree.VolumePosition
}

func (v *volume) position() pinetree.VolumePosition {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at
}

func (v *volume) set(s pinetree.VolumeSettings) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at.Settings = s
}

func TestAnAppendWaitsForTheRateAndHearsOfANewOne(t *testing.T) {
	k := NewKeeper()
	v := &volume{}
	v.set(pinetree.VolumeSettings{IngestRate: 1000})
	var told time.Duration
	hear := func(d time.Duration) { told = d }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := k.Ingest(ctx, 1, v.position, 1_000_000, hear); err != nil || told != 0 {
		t.Fatalf("the first append: %v, told to wait %v", err, told)
	}
	if err := k.Ingest(ctx, 2, v.position, 1, hear); err != nil || told != 0 {
		t.Fatalf("an append to another volume: %v, told to wait %v", err, told)
	}
	over := make(chan error, 1)
	go func() { over <- k.Ingest(ctx, 1, v.position, 1, hear) }()
	select {
	case err := <-over:
		t.Fatalf("a second append did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	v.set(pinetree.VolumeSettings{})
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	if told < 990*time.Second || told > 1000*time.Second {
		t.Fatalf("a million bytes at 1,000 a second are owed, and it was told to wait %v", told)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	v.set(pinetree.VolumeSettings{IngestRate: 1000})
	if err := k.Ingest(short, 1, v.position, 1, hear); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("an append whose time is over: %v", err)
	}
}

func TestAFullVolumeRefusesAppendsWithTheFigures(t *testing.T) {
	k := NewKeeper()
	v := &volume{at: pinetree.VolumePosition{LogBytes: 900, TruncatedBytes: 400}}
	v.set(pinetree.VolumeSettings{MaxBytes: 501})
	wait := func(time.Duration) { t.Error("told to wait") }
	if err := k.Ingest(t.Context(), 7, v.position, 1000, wait); err != nil {
		t.Fatalf("below the limit: %v", err)
	}
	v.set(pinetree.VolumeSettings{MaxBytes: 500})
	err := k.Ingest(t.Context(), 7, v.position, 1, wait)
	if !errors.Is(err, pinetree.ErrOverQuota) || !strings.Contains(err.Error(), "volume 7 keeps 500 bytes of log, and its max_bytes is 500") {
		t.Fatalf("at the limit: %v", err)
	}
}

func TestReadsWaitALittleAndAreRefusedThen(t *testing.T) {
	k := NewKeeper()
	const rate = 100
	served, refused := 0, 0
	began := time.Now()
	var reading sync.WaitGroup
	var mu sync.Mutex
	for range 60 {
		reading.Go(func() {
			for time.Since(began) < 500*time.Millisecond {
				err := k.Read(t.Context(), 7, rate, 1)
				mu.Lock()
				switch {
				case err == nil:
					served++
				case errors.Is(err, pinetree.ErrOverQuota) && strings.Contains(err.Error(), "100 a second"):
					refused++
				default:
					t.Error(err)
				}
				mu.Unlock()
				if err != nil {
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	reading.Wait()
	took := time.Since(began)
	if most := rate*(took+burst).Seconds() + 2; float64(served) > most || float64(served) < rate*0.4 {
		t.Errorf("%d reads in %v at %d a second", served, took, rate)
	}
	if refused == 0 {
		t.Error("none was refused")
	}
	if err := k.Read(t.Context(), 7, 0, 1); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

func TestManyVolumesAreNotRemembered(t *testing.T) {
	k := NewKeeper()
	for id := range pinetree.VolumeID(3 * sweepAt) {
		if err := k.Read(t.Context(), id, 1000, 1); err != nil {
			t.Fatal(err)
		}
		for _, u := range k.volumes {
			u.reads.at = u.reads.at.Add(-2 * time.Minute)
		}
		if len(k.volumes) > sweepAt {
			t.Fatalf("%d are remembered", len(k.volumes))
		}
	}
}
