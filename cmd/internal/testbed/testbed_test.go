package testbed

import (
	"math"
	"testing"
	"time"
)

func TestLatencyQuantiles(t *testing.T) {
	all := NewLatencies()
	for part := range 4 {
		l := NewLatencies()
		for i := part; i < 10_000; i += 4 {
			l.Record(time.Duration(i+1) * time.Microsecond)
		}
		all.Merge(l)
	}
	all.Record(0)
	all.Record(time.Hour)
	if n := all.Count(); n != 10_002 {
		t.Errorf("%d latencies, want 10,002: those out of bounds count as the bound", n)
	}
	for percent, want := range map[float64]float64{50: 5000, 99: 9900, 99.9: 9990} {
		if got := all.Quantile(percent); math.Abs(got-want) > want/500 {
			t.Errorf("p%g is %g µs, want %g", percent, got, want)
		}
	}
}

func TestCPUTimeIsFoundBehindAnyName(t *testing.T) {
	for name, want := range map[string]time.Duration{"pinetree": 1230 * time.Millisecond, "a) R 9 (b c) d": 1230 * time.Millisecond} {
		line := "42 (" + name + ") S 1 42 42 0 -1 4194560 1 2 3 4 100 23 7 8 20 0 11 0 5 6 7\n"
		if got, err := parseCPU([]byte(line)); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", name, got, err, want)
		}
	}
	for _, line := range []string{"", "42 (pinetree) S 1 42", "42 (p) S 1 42 42 0 -1 4194560 1 2 3 4 x 23 7"} {
		if got, err := parseCPU([]byte(line)); err == nil {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestBusyTimeOfTheMachine(t *testing.T) {
	got, err := parseBusy([]byte("cpu  100 20 30 4000 500 6 7 8 90 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n"))
	if want := 1710 * time.Millisecond; err != nil || got != want {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, text := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu 1 2 3 4 5 6 7 x"} {
		if _, err := parseBusy([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestFieldsOfProc(t *testing.T) {
	text := []byte("Name:\tx\nThreads:\t11\nVmHWM:\t   200 kB\nVmRSS:\t  100 kB\n")
	for name, want := range map[string]int64{"Threads": 11, "VmRSS": 100 << 10, "VmHWM": 200 << 10} {
		if got, err := parseField(text, name); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, want)
		}
	}
	if _, err := parseField(text, "VmPeak"); err == nil {
		t.Error("a field that is not there was found")
	}
}
