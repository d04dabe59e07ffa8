package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// resident is how much memory the process takes, in bytes.
func resident(t *testing.T) int {
	t.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestBallastIsThereForTheCollectorAlone(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	before := resident(t)
	ballast := newBallast()
	runtime.GC()
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	if heap.NextGC < 2*ballastBytes {
		t.Errorf("the collector begins at %d bytes already", heap.NextGC)
	}
	if grown := resident(t) - before; grown > ballastBytes/4 {
		t.Errorf("%d bytes of memory more", grown)
	}
	runtime.KeepAlive(ballast)
	for _, tuned := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(tuned, func(t *testing.T) {
			t.Setenv(tuned, "1GiB")
			if newBallast() != nil {
				t.Error("ballast for somebody who has tuned the collector")
			}
		})
	}
}
