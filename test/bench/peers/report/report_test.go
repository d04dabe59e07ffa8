package report

import (
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree/test/bench/peers/load"
)

func TestMedianIsTheMiddle(t *testing.T) {
	for _, c := range []struct {
		figures []float64
		want    float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := Median(c.figures); got != c.want {
			t.Errorf("the median of %v is %v, want %v", c.figures, got, c.want)
		}
	}
}

// ofRounds makes measurements of one load on one system, one for each figure.
func ofRounds(shape, system string, set func(*load.Result, float64), figures ...float64) []Measurement {
	var all []Measurement
	for i, f := range figures {
		m := Measurement{Round: i + 1, Load: shape, System: system}
		set(&m.Result, f)
		all = append(all, m)
	}
	return all
}

func setOps(r *load.Result, v float64) { r.OpsPerSecond = v }
func setP50(r *load.Result, v float64) { r.P50 = v }
func setMB(r *load.Result, v float64)  { r.MBPerSecond = v }

func TestFailedRoundsCountAsNoFigures(t *testing.T) {
	all := ofRounds(single, floorTCP, setOps, 10, 30, 20)
	all = append(all, Measurement{Round: 4, Load: single, System: floorTCP, Error: "no"})
	cell := Medians(all)[single][floorTCP]
	if cell.Rounds != 3 || cell.Failed != 1 || cell.Median.OpsPerSecond != 20 {
		t.Errorf("three rounds of which 20 is the middle, and one that failed, are %+v", cell)
	}
}

// verdict finds the one verdict whose text has all the words.
func verdict(t *testing.T, all []Verdict, words ...string) Verdict {
	t.Helper()
	var found []Verdict
next:
	for _, v := range all {
		for _, w := range words {
			if !strings.Contains(v.What, w) {
				continue next
			}
		}
		found = append(found, v)
	}
	if len(found) != 1 {
		t.Fatalf("%d verdicts have the words %q", len(found), words)
	}
	return found[0]
}

func TestEachBarIsHeldAgainstTheBestOfItsCrowd(t *testing.T) {
	var all []Measurement
	add := func(shape, system string, set func(*load.Result, float64), v float64) {
		all = append(all, ofRounds(shape, system, set, v)...)
	}
	add(closed1Ki, "pinetree", setOps, 120)
	add(closed1Ki, "etcd", setOps, 50)
	add(closed1Ki, "hashicorp-grpc", setOps, 100)
	add(closed1Ki, "dragonboat-tcp", setOps, 150)
	add(closed1Ki, floorTCP, setOps, 200)
	add(closed1Ki, "floor-grpc", setOps, 1000) // of no crowd
	add(single, "pinetree", setP50, 300)
	add(single, floorTCP, setP50, 200)
	add(single, "etcd", setP50, 310)
	add(single, "hashicorp-tcp", setP50, 290)
	add(stream1Ki, "pinetree", setMB, 45)
	add(closed16Ki, floorTCP, setMB, 100)
	add(stream128, "pinetree", setOps, 1_000_000)
	verdicts := Judge(Medians(all))

	for _, c := range []struct {
		words  []string
		figure float64
		pass   string
		goal   bool
	}{
		{[]string{"ops/s of " + closed1Ki, "own client"}, 1.2, "PASS", false},
		{[]string{"ops/s of " + closed1Ki, "raw TCP"}, 0.8, "MISS", false},
		{[]string{"ops/s of " + closed1Ki, "floor"}, 0.6, "PASS", false},
		{[]string{"ops/s of " + closed1Ki, "state machine"}, 1.2, "PASS", true},
		{[]string{"p50 of " + single, "floor"}, 1.5, "PASS", true},
		{[]string{"p50 of " + single, "best peer"}, 300.0 / 290, "MISS", false},
		{[]string{"MB/s of " + stream1Ki}, 0.45, "PASS", false},
		{[]string{"records/s of " + stream128}, 1_000_000, "PASS", true},
		{[]string{"ops/s of " + closed128, "floor"}, 0, "----", false},
		{[]string{"64 groups to"}, 0, "----", false},
	} {
		v := verdict(t, verdicts, c.words...)
		if v.Figure != c.figure || !strings.HasPrefix(v.String(), c.pass) || v.GoalReached != c.goal || v.Pass != (c.pass == "PASS") {
			t.Errorf("%q: want %v and %s, got %v", c.words, c.figure, c.pass, v)
		}
	}
}

func TestEachPinetreeIsJudged(t *testing.T) {
	all := ofRounds(single, "pinetree", setP50, 1)
	all = append(all, ofRounds(closed1Ki, "pinetree:badger", setOps, 1)...)
	systems := map[string]int{}
	for _, v := range Judge(Medians(all)) {
		systems[v.System]++
	}
	if len(systems) != 2 || systems["pinetree"] != systems["pinetree:badger"] {
		t.Errorf("verdicts of each system: %v", systems)
	}
}

// TestReadsAreJudgedByThemselves: a run of reads lacks no writes, and the floor is
// no peer.
func TestReadsAreJudgedByThemselves(t *testing.T) {
	all := ofRounds(read16, "pinetree:badger", setOps, 900, 1000, 1100)
	all = append(all, ofRounds(read16, "etcd", setOps, 400, 501, 600)...)
	all = append(all, ofRounds(read64, "floor-map", setOps, 5000)...)
	all = append(all, ofRounds(read64, "pinetree:badger", setOps, 1000)...)
	all = append(all, ofRounds(read64, "etcd", setOps, 500)...)
	verdicts := Judge(Medians(all))
	if len(verdicts) != len(Reads) {
		t.Fatalf("%d verdicts: %v", len(verdicts), verdicts)
	}
	for i, want := range []string{"----", "MISS", "PASS"} {
		if !strings.HasPrefix(verdicts[i].String(), want) || !strings.Contains(verdicts[i].What, Reads[i]) {
			t.Errorf("%v, want %s of %s", verdicts[i], want, Reads[i])
		}
	}
}

func TestTableHasRatiosToPinetree(t *testing.T) {
	all := ofRounds(closed1Ki, "pinetree", setOps, 3000)
	all = append(all, ofRounds(closed1Ki, "etcd", setOps, 1500)...)
	all = append(all, Measurement{Load: closed1Ki, System: "nats", Error: "no"})
	text := Markdown(Medians(all))
	for _, line := range []string{
		"| pinetree | 3,000 | – | – | – | – | – | – | 1 | 1.00 |",
		"| etcd | 1,500 | – | – | – | – | – | – | 1 | 2.00 |",
		"| nats | – | – | – | – | – | – | – | 0, 1 failed | |",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}
