// Package pipeline orders the replay of a group's committed entries into stages:
// one write is applied while the next one is decided and prepared. It knows what
// is due and what must wait for what, and has no goroutine and no lock; an engine
// it knows by its contract alone.
package pipeline

import (
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/replay"
)

const (
	// flushBytes is how much is replayed before the engine is asked to flush, also
	// between the askings by time: little enough that a raft log's sync does not
	// wait long for the disk meanwhile.
	flushBytes = 16 << 20
	// maxWriteBytes is about how much is replayed in one engine write.
	maxWriteBytes = 20 << 20
)

// Stage is a part of the work on a write.
type Stage int

// The stages. Two goroutines may be at work on a group, one in each.
const (
	Rest    Stage = iota // nothing is due
	Prepare              // decide on the next write, and prepare it
	Apply                // apply a write that is prepared, and what comes after it
)

// Write is what is replayed at once.
type Write struct {
	Commits  []group.Commit
	Decision replay.Decision
	apply    func() error
	err      error // why it cannot be
	bytes    int
}

// Line is the pipeline of a group. The zero Line is empty. Its methods are called
// by one goroutine at a time, but for Write.Prepare and Write.Apply, which need no
// more than the write.
//
// Invariants:
//
//	writes are prepared, and applied, one at a time and in order
//	at most one is prepared and waits, and none is when nothing may be
//	after a failure no write is applied
type Line struct {
	commits   []group.Commit
	flush     bool  // the engine is to flush, so that the log can be compacted
	chores    bool  // there is something else to be done in the stage Apply
	held      bool  // the engine's state is being replaced
	failed    error // the end of it
	preparing bool
	applying  bool
	ready     *Write
	// unflushed is about how many bytes were replayed since the last flush.
	unflushed int
	most      int // bytes of a write; maxWriteBytes when zero
	// ahead is the state that the last prepared write leads to; nil when the engine
	// has it.
	ahead replay.State
}

func (l *Line) limit() int {
	if l.most > 0 {
		return l.most
	}
	return maxWriteBytes
}

// Add adds a run of committed entries.
func (l *Line) Add(c group.Commit) {
	if l.failed == nil {
		l.commits = append(l.commits, c)
	}
}

// AskFlush has the engine flushed once.
func (l *Line) AskFlush() { l.flush = true }

// AskChores has the stage Apply entered once, for something else.
func (l *Line) AskChores() { l.chores = true }

// Due is the stage that can be begun now.
func (l *Line) Due() Stage {
	waits := len(l.commits) > 0
	switch {
	case !l.applying && l.ready != nil:
		return Apply
	case waits && !l.preparing && l.ready == nil && !l.held:
		return Prepare
	case !l.applying && !l.preparing && !waits && (l.flush || l.chores):
		return Apply
	}
	return Rest
}

// Idle tells that nothing is under way or due.
func (l *Line) Idle() bool { return !l.preparing && !l.applying && l.Due() == Rest }

// Drained tells that nothing is left of what was added, but for what the stage
// Apply is at.
func (l *Line) Drained() bool { return !l.preparing && l.ready == nil && len(l.commits) == 0 }

// BeginPrepare begins the stage Prepare, which must be due, and returns what is to
// be prepared, and the state that it follows on. EndPrepare ends it.
func (l *Line) BeginPrepare(e engine.Engine) (*Write, replay.State) {
	n, bytes := 0, 0
	for ; n < len(l.commits) && (n == 0 || bytes < l.limit()); n++ {
		for _, e := range l.commits[n].Entries {
			bytes += len(e.GetData())
		}
	}
	w := &Write{Commits: l.commits[:n:n], bytes: bytes}
	l.commits = append([]group.Commit(nil), l.commits[n:]...)
	l.preparing = true
	if l.ahead == nil {
		return w, e
	}
	return w, l.ahead
}

// Prepare decides what the write changes, on the state that it follows on, and has
// the engine prepare it if it can. Its error comes with Apply, when those before
// have been applied.
func (w *Write) Prepare(e engine.Engine, from replay.State) {
	if w.Decision, w.err = group.Replay(from, w.Commits); w.err != nil {
		return
	}
	w.apply = func() error { return e.Apply(w.Decision.Write) }
	if p, ok := e.(engine.Preparer); ok {
		w.apply, w.err = p.Prepare(w.Decision.Write)
	}
}

// EndPrepare ends the stage Prepare.
func (l *Line) EndPrepare(w *Write, e engine.Engine) {
	l.preparing = false
	if l.failed == nil {
		l.ready, l.ahead = w, w.Decision.After(e)
	}
}

// BeginApply begins the stage Apply, which must be due, and returns the write that
// is to be applied, if there is one, and whether the engine is to flush after it.
// EndApply ends it.
func (l *Line) BeginApply() (w *Write, flush bool) {
	w, l.ready = l.ready, nil
	if w != nil {
		l.unflushed += w.bytes
	}
	flush = l.flush || l.unflushed >= flushBytes
	if flush {
		l.flush, l.unflushed = false, 0
	}
	l.applying, l.chores = true, false
	return w, flush
}

// Apply has the engine apply the write.
func (w *Write) Apply() error {
	if w.err != nil {
		return w.err
	}
	return w.apply()
}

// EndApply ends the stage Apply. After an error no write is applied any more.
func (l *Line) EndApply(err error) {
	l.applying, l.held = false, false
	if l.failed == nil && err != nil {
		l.failed, l.commits, l.ready = err, nil, nil
	}
	if l.ready == nil && !l.preparing {
		l.ahead = nil
	}
}

// Failed is the first error of Apply.
func (l *Line) Failed() error { return l.failed }

// Hold lets no write be prepared before the end of the stage Apply, which is at
// work. The line must be drained.
func (l *Line) Hold() { l.held = true }
