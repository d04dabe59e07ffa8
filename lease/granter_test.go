package lease

import (
	"testing"
	"time"
)

var testRules = Rules{
	Duration:        600 * time.Millisecond,
	MaxDrift:        0.01,
	MaxQuorumAge:    time.Second,
	MaxFsyncPending: time.Second,
	MaxFsyncAge:     5 * time.Second,
}

const second = Instant(time.Second)

func TestGranterGivesOnlyWithFreshProofUnderTheNewestAppointment(t *testing.T) {
	recorded := Record{Appointment: 7, Node: 2, Holder: 2, Held: 7, Term: 5}
	good := Claim{Node: 2, Appointment: 7, Term: 5}
	for name, tc := range map[string]struct {
		change  func(*Claim)
		verdict Verdict
	}{
		"fresh proof":              {func(*Claim) {}, Granted},
		"older appointment":        {func(c *Claim) { c.Appointment = 6 }, Superseded},
		"appointment nobody made":  {func(c *Claim) { c.Appointment = 8 }, Superseded},
		"another node":             {func(c *Claim) { c.Node = 3 }, Superseded},
		"no node":                  {func(c *Claim) { c.Node = 0 }, Superseded},
		"no term":                  {func(c *Claim) { c.Term = 0 }, Superseded},
		"raft term below recorded": {func(c *Claim) { c.Term = 4 }, OldTerm},
		"later raft term":          {func(c *Claim) { c.Term = 6 }, RecordFirst},
		"quorum too long ago":      {func(c *Claim) { c.QuorumAge = time.Second + 1 }, QuorumStale},
		"quorum just in time":      {func(c *Claim) { c.QuorumAge = time.Second }, Granted},
		"fsync hangs":              {func(c *Claim) { c.FsyncPending = time.Second + 1 }, DiskStale},
		"fsync too long ago":       {func(c *Claim) { c.FsyncAge = 5*time.Second + 1 }, DiskStale},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewGranter(testRules, recorded, second)
			c := good
			tc.change(&c)
			grant, v := g.Ask(c, second)
			if v != tc.verdict {
				t.Fatalf("verdict %q, want %q", v, tc.verdict)
			}
			if want := (Grant{Appointment: 7, Term: 5, Duration: 600 * time.Millisecond}); v == Granted && grant != want {
				t.Fatalf("granted %+v, want %+v", grant, want)
			}
		})
	}
}

func TestNobodyElseIsActivatedBeforeTheCountIsOver(t *testing.T) {
	g := NewGranter(testRules, Record{Appointment: 1, Node: 1}, 0)
	first := Claim{Node: 1, Appointment: 1, Term: 2}
	if _, v := g.Ask(first, second); v != RecordFirst {
		t.Fatalf("first claim: %q", v)
	}
	g.Recorded(g.Activation(first))
	if !g.Record().Activated() {
		t.Fatalf("recorded %+v, which is not activated", g.Record())
	}
	if _, v := g.Ask(first, second); v != Granted {
		t.Fatalf("after recording: %q", v)
	}
	answered := second + Instant(50*time.Millisecond)
	g.Answered(1, answered)
	r := g.Record()
	r.Appointment, r.Node = 2, 2
	g.Recorded(r)
	next := Claim{Node: 2, Appointment: 2, Term: 3}
	over := answered.Add(606 * time.Millisecond) // 600 ms and one in a hundred
	if _, v := g.Ask(next, over-1); v != HeldElsewhere {
		t.Fatalf("one nanosecond early: %q", v)
	}
	if _, v := g.Ask(first, over-1); v != Superseded {
		t.Fatalf("renewal of a replaced appointment: %q", v)
	}
	if got := g.Left(over - 1); got != 1 {
		t.Fatalf("left %v, want 1ns", got)
	}
	if _, v := g.Ask(next, over); v != RecordFirst {
		t.Fatalf("when it is over: %q", v)
	}
}

func TestReleaseEndsTheCountAndTheAppointment(t *testing.T) {
	g := NewGranter(testRules, Record{Appointment: 1, Node: 1, Holder: 1, Held: 1, Term: 2}, 0)
	claim := Claim{Node: 1, Appointment: 1, Term: 2}
	if _, v := g.Ask(claim, second); v != Granted {
		t.Fatalf("verdict %q", v)
	}
	g.Release(2, 1)
	if g.Free(2, second) {
		t.Fatal("a node that holds nothing released the lease of another")
	}
	g.Release(1, 1)
	g.Answered(1, second) // the answer left after the release arrived
	if !g.Free(2, second) {
		t.Fatal("not free after the holder's release")
	}
	if _, v := g.Ask(claim, second); v != WasReleased {
		t.Fatalf("grant after release: %q", v)
	}
}

func TestNewManagerWaitsButTheHolderGoesOn(t *testing.T) {
	pending := Record{Appointment: 2, Node: 2, Holder: 1, Held: 1, Term: 2}
	g := NewGranter(testRules, pending, second)
	if g.Free(2, second.Add(606*time.Millisecond)-1) {
		t.Fatal("free before one maximum lease from taking office")
	}
	if !g.Free(2, second.Add(606*time.Millisecond)) {
		t.Fatal("not free after it")
	}
	back := pending
	back.Appointment, back.Node = 3, 1
	g.Recorded(back)
	again := Claim{Node: 1, Appointment: 3, Term: 2}
	g.Recorded(g.Activation(again))
	if _, v := g.Ask(again, second); v != Granted {
		t.Fatalf("the holder itself: %q", v)
	}
	// The release that the holder gave before is not one of the new grant.
	g.Release(1, 2)
	if g.Free(2, second) {
		t.Fatal("a release of an older appointment freed the newest grant")
	}
	fresh := NewGranter(testRules, Record{}, second)
	if !fresh.Free(1, second) {
		t.Fatal("a group that was never led is not free")
	}
}

func TestBootTimeRises(t *testing.T) {
	before := BootTime()
	time.Sleep(time.Millisecond)
	if d := BootTime().Sub(before); d < time.Millisecond || d > 10*time.Second {
		t.Fatalf("1 ms took %v", d)
	}
}
