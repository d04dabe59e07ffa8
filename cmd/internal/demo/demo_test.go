package demo

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
)

// heard makes acknowledgements at milliseconds, each sent 2 ms before.
func heard(at ...int) (*acks, func(int) time.Time) {
	began := time.Unix(1_000_000, 0)
	instant := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	a := &acks{}
	for i, ms := range at {
		a.list = append(a.list, ack{instant(ms), pinetree.LSN(1_000_000 * (i + 1)), 2 * time.Millisecond})
	}
	return a, instant
}

func TestOutageIsTheLongestTimeWithoutAnAnswerAfterTheFault(t *testing.T) {
	a, at := heard(0, 50, 60, 70, 700, 710, 730)
	for fault, want := range map[int]outage{
		65:  {at(70), at(700)}, // an answer came after the fault, from what was under way
		75:  {at(70), at(700)}, // the last answer was before it
		705: {at(710), at(730)},
		731: {},
	} {
		if got := a.longest(at(fault)); got != want {
			t.Errorf("a fault at %d ms: %v long, want %v", fault, got.length(), want.length())
		}
	}
	if got := (outage{at(70), at(700)}).milliseconds(); got != 630 {
		t.Errorf("630 ms are %v", got)
	}
}

func TestLatenciesLeaveOutWhatWaitedInAnOutage(t *testing.T) {
	a, at := heard(10, 20, 30, 700, 710)
	a.list[3].latency = 660 * time.Millisecond
	l := a.latencies(outage{at(30), at(700)})
	if l.left != 1 || l.p50 != 2*time.Millisecond || l.p99 != 2*time.Millisecond {
		t.Errorf("%+v", l)
	}
	if l := a.latencies(); l.left != 0 || l.p99 != 660*time.Millisecond {
		t.Errorf("with everything: %+v", l)
	}
	if l := (&acks{}).latencies(); l != (latencies{}) {
		t.Errorf("of nothing: %+v", l)
	}
}

func TestRateCountsFromWhenThereWasNoPace(t *testing.T) {
	a, at := heard(0, 100, 200, 300)
	if got := a.rate(at(100)); got != 10 {
		t.Errorf("2 MB in 200 ms are %v MB/s", got)
	}
	if got := a.rate(at(300)); got != 0 {
		t.Errorf("nothing is %v MB/s", got)
	}
}

func TestOneWrongByteIsNotOK(t *testing.T) {
	right := replica{Node: 1, Records: 5, Bytes: 10, MD5: "sum"}
	result := func(change func(*Result)) bool {
		r := &Result{Records: 5, Bytes: 10, SourceMD5: "sum", FencedError: "fenced", Replicas: []replica{right, right, right}}
		change(r)
		r.judge()
		return r.OK
	}
	if !result(func(*Result) {}) {
		t.Error("three right replicas are not OK")
	}
	for name, change := range map[string]func(*Result){
		"another md5":      func(r *Result) { r.Replicas[2].MD5 = "other" },
		"fewer bytes":      func(r *Result) { r.Replicas[0].Bytes-- },
		"fewer records":    func(r *Result) { r.Replicas[1].Records-- },
		"a replica less":   func(r *Result) { r.Replicas = r.Replicas[:2] },
		"nobody fenced":    func(r *Result) { r.FencedError = "" },
		"no replica asked": func(r *Result) { r.Replicas = nil },
	} {
		if result(change) {
			t.Errorf("%s is OK", name)
		}
	}
}

func TestSegmentsAreWrittenAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	s := &segments{dir: dir, names: []string{"a", "b"}}
	log := bytes.Repeat([]byte("0123456789abcdef"), 2*segmentBytes/16)
	for at := 0; at < len(log); at += 300_007 {
		if _, err := s.Write(log[at:min(at+300_007, len(log))]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Write([]byte("x")); err == nil {
		t.Error("more than the source has was taken")
	}
	for i, name := range []string{"a", "b"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(data, log[i*segmentBytes:(i+1)*segmentBytes]) {
			t.Errorf("segment %s: %d bytes, %v", name, len(data), err)
		}
	}
}
