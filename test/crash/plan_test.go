package crash

import (
	"fmt"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk/faultfs"
)

// kind is what happens to a machine.
type kind string

const (
	killed   kind = "killed"   // the process dies: what it wrote stays
	powerCut kind = "powercut" // the machine loses what was not synced
	blackout kind = "blackout" // all machines do, at the same moment
	failing  kind = "failing"  // the call returns EIO
)

var kinds = []kind{killed, powerCut, blackout, failing}

// backend names an engine.
type backend string

const (
	wal    backend = "wal"
	memory backend = "memory"
)

var backends = []backend{wal, memory}

// strike is something bad that happens at a call of a machine.
type strike struct {
	kind   kind
	victim pinetree.NodeID
	at     int           // the calls that change files are counted from 1; after the first strike, from there
	away   time.Duration // until the process is started again
}

// plan is one run: which engine, and which call of whom goes wrong. What else
// varies follows from that.
type plan struct {
	engine backend
	kind   kind
	victim pinetree.NodeID
	at     int // zero for a run in which nothing goes wrong
}

// String is what a run is repeated by.
func (p plan) String() string { return fmt.Sprintf("%s/%s/%d/%d", p.engine, p.kind, p.victim, p.at) }

func parsePlan(text string) (p plan, err error) {
	_, err = fmt.Sscanf(strings.ReplaceAll(text, "/", " "), "%s %s %d %d", &p.engine, &p.kind, &p.victim, &p.at)
	return p, err
}

// strikes are the bad things of a run: every third crash is followed by another
// one soon after the restart.
func (p plan) strikes() []strike {
	if p.at == 0 {
		return nil
	}
	first := strike{kind: p.kind, victim: p.victim, at: p.at, away: time.Duration(1+p.at%7*40) * time.Millisecond}
	if p.at%3 != 0 || p.kind == failing {
		return []strike{first}
	}
	return []strike{first, {kind: p.kind, victim: p.victim, at: 1 + p.at/3%11, away: 20 * time.Millisecond}}
}

// crash is what the disk of a machine that died is like afterwards.
func (p plan) crash(m *machine) faultfs.Crash {
	return faultfs.Crash{PowerCut: p.kind != killed, Seed: uint64(p.at)<<16 | uint64(m.id)<<12 | uint64(m.life)<<1}
}
