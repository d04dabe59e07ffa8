package adapter

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/pinetree-db/pinetree"
)

// TestStories runs the scripts in testdata/stories: a leader's queue and a replica's
// position, told step by step. `go test ./adapter -rewrite` writes them anew.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		s := &story{limits: Limits{MaxHeldBytes: 1000, MaxHeldBatches: 100}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out := s.run(t, d)
			if s.queue == nil {
				return out
			}
			if wrong := s.queue.disorder(); wrong != "" {
				t.Fatalf("%s: %s", d.Pos, wrong)
			}
			return out
		})
	})
}

// story is what a script acts on: one replica's position, and the queue of the
// leader, which is the same node unless the script says otherwise.
type story struct {
	limits Limits
	at     pinetree.VolumePosition
	queue  *Queue
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "limits":
		d.ScanArgs(t, "bytes", &s.limits.MaxHeldBytes)
		d.ScanArgs(t, "batches", &s.limits.MaxHeldBatches)
		return ""
	case "lead":
		s.queue = NewQueue(s.at, s.limits)
		return s.state()
	case "reset":
		s.queue.Reset(s.at)
		return s.state()
	case "open":
		s.queue.Open(pinetree.ComputeTerm(number(t, d, "term", 0)))
		return s.state()
	case "offer":
		return s.eachBatch(t, d, s.offer) + s.state()
	case "take":
		return s.take(number(t, d, "bytes", 1000)) + s.state()
	case "fence":
		return s.fence(t, d)
	case "apply":
		return s.eachBatch(t, d, s.apply) + s.position()
	case "resolve":
		return s.resolve(t, d)
	}
	t.Fatalf("%s: no command %q", d.Pos, d.Cmd)
	return ""
}

func (s *story) offer(b pinetree.Batch) string {
	verdict, err := s.queue.Offer(b)
	if err != nil {
		return err.Error()
	}
	return verdict.String()
}

func (s *story) take(maxBytes int) string {
	var out strings.Builder
	for _, b := range s.queue.Take(maxBytes) {
		fmt.Fprintf(&out, "%s of term %d\n", span(b), b.Term)
	}
	return out.String()
}

func (s *story) state() string {
	q := s.queue
	out := fmt.Sprintf("term %d, ordered %s, received %s", q.Term(), q.Ordered(), q.Received())
	if q.Ready() {
		out += fmt.Sprintf(", ready %d", len(q.ready))
	}
	if lsn, missing := q.Missing(); missing {
		out += fmt.Sprintf(", held %d, missing %s", len(q.held), lsn)
	}
	return out + fmt.Sprintf(", %d bytes", q.HeldBytes())
}

func (s *story) fence(t *testing.T, d *datadriven.TestData) string {
	f := Fence{
		Term: pinetree.ComputeTerm(number(t, d, "term", 0)),
		Base: pinetree.LSN(number(t, d, "base", 0)),
	}
	var opened bool
	if s.at, opened = OpenTerm(s.at, f); !opened {
		return "changes nothing\n" + s.position()
	}
	return s.position()
}

func (s *story) apply(b pinetree.Batch) string {
	decision := Decide(s.at, b)
	if decision == Apply {
		s.at.LSN = b.LSN
	}
	return decision.String()
}

func (s *story) position() string {
	out := fmt.Sprintf("position %s, base %s, terms", s.at.LSN, s.at.Base)
	for _, t := range s.at.Terms {
		out += fmt.Sprintf(" %d@%s", t.Term, t.Start)
	}
	return out
}

func (s *story) resolve(t *testing.T, d *datadriven.TestData) string {
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		var a Append
		var lsn string
		if _, err := fmt.Sscanf(line, "term %d to %s", &a.Term, &lsn); err != nil {
			t.Fatalf("%s: %q: %v", d.Pos, line, err)
		}
		a.LSN = parse(t, lsn)
		if outcome, err := Resolve(s.at, a); err != nil {
			fmt.Fprintln(&out, err)
		} else {
			fmt.Fprintln(&out, outcome)
		}
	}
	return out.String()
}

// eachBatch reads lines such as `0/0 to 0/10 term 1 size 20`, where size may be
// left out, and calls fn with each.
func (s *story) eachBatch(t *testing.T, d *datadriven.TestData, fn func(pinetree.Batch) string) string {
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		var prev, lsn string
		b, size := pinetree.Batch{Volume: 7, Count: 1}, 10
		if n, err := fmt.Sscanf(line, "%s to %s term %d size %d", &prev, &lsn, &b.Term, &size); n < 3 {
			t.Fatalf("%s: %q: %v", d.Pos, line, err)
		}
		b.Prev, b.LSN, b.Encoded = parse(t, prev), parse(t, lsn), make([]byte, size)
		fmt.Fprintln(&out, fn(b))
	}
	return out.String()
}

func number(t *testing.T, d *datadriven.TestData, key string, otherwise int) int {
	n := otherwise
	d.MaybeScanArgs(t, key, &n)
	return n
}

func parse(t *testing.T, text string) pinetree.LSN {
	lsn, err := pinetree.ParseLSN(text)
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}
