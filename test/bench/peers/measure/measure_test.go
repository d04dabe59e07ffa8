package measure

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

func TestQuantilesAreThoseOfTheSortedDurations(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(r.Uint64N(1 << r.IntN(40)))
		h.Add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[int(q*float64(len(all))+0.5)-1]
		if got := h.Quantile(q); got < exact || got > exact+exact/64+1 {
			t.Errorf("quantile %v is %v, the sorted durations say %v", q, got, exact)
		}
	}
}

func TestBucketsFollowOnEachOther(t *testing.T) {
	for i := 1; i < 64*subBuckets/2; i++ {
		if low := upper(i-1) + 1; bucket(low) != i || bucket(upper(i)) != i {
			t.Fatalf("bucket %d is to hold %d to %d, but those go to %d and %d", i, low, upper(i), bucket(low), bucket(upper(i)))
		}
	}
}

func TestStatIsReadWhateverTheCommandIsCalled(t *testing.T) {
	const stat = "17 (a) b (c)) S 1 17 17 0 -1 4194304 100 0 0 0 250 150 3 4 20 0 1 0 100 1000 200 18446744073709551615"
	if cpu, err := parseStat(stat); err != nil || cpu != 4*time.Second {
		t.Errorf("250 and 150 ticks are %v, error %v", cpu, err)
	}
	if _, err := parseStat("17 (a) S 1 2"); err == nil {
		t.Error("a line that is cut off was read")
	}
}

func TestTimeThatThisProcessTakesCounts(t *testing.T) {
	self := []PID{PID(os.Getpid())}
	before, err := Take(self)
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
	}
	after, err := Take(self)
	if err != nil {
		t.Fatal(err)
	}
	// This process counts twice: as the caller and as a server.
	if used := after.CPU - before.CPU; used <= 0 {
		t.Errorf("100 ms of work took %v", used)
	}
	if after.PeakRSS < 1<<20 {
		t.Errorf("this process had %d bytes at most", after.PeakRSS)
	}
	if _, err := Take([]PID{1 << 30}); err == nil {
		t.Error("a process that there is not has a usage")
	}
}
