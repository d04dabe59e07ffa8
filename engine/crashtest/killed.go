package crashtest

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/enginetest"
)

const (
	killedDir   = "PINETREE_ENGINETEST_KILLED_DIR"
	killedSeed  = 21
	killedLine  = "flushed up to index "
	copiedLine  = "copied up to index "
	killedLimit = 30 * time.Second // after which a child ends by itself
)

// RunKilled kills a process that applies writes, with SIGKILL and at a random
// moment, again and again in one directory, and looks at what is left: the
// position is that of a whole write and not below what the child called
// flushed, and the data are those of that position. Now and then the child
// restores a snapshot of its group into a second one: of that one, too, there
// is what a commit left, the last one called done or a later one, and no
// mixture. The child is this test binary, run with the name of the calling
// test, which must not be a subtest and must do nothing else.
//
// What a killed process wrote is in the page cache, so this shows that writes
// are whole and in order; that they are fsynced takes a power cut.
func RunKilled(t *testing.T, b enginetest.Backend, rounds int) {
	if dir := os.Getenv(killedDir); dir != "" {
		applyUntilKilled(t, b, dir)
		return
	}
	kill := func(child *os.Process) { _ = child.Kill() }
	runCrashes(t, b, crash{dir: t.TempDir(), now: kill, after: func() {}}, rounds)
}

// crash is a way to end a child's work at any moment.
type crash struct {
	dir   string
	now   func(child *os.Process) // must end the child, or make it end with an error
	after func()                  // the child has ended
	// blind tells that what the child says once now has begun does not count: a
	// file system that was shut down under a process may still tell it that a
	// sync succeeded, which a machine without power does not.
	blind bool
}

func runCrashes(t *testing.T, b enginetest.Backend, how crash, rounds int) {
	t.Helper()
	first, second := newSurvivor(t, b, 1), newSurvivor(t, b, 2)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for round := range rounds {
		done := runAndCrash(t, how, random, round == 0)
		store, err := b.Open(how.dir)
		if err != nil {
			t.Fatalf("round %d: open after the crash: %v", round, err)
		}
		err = first.check(store, done.flushed)
		if err == nil && done.copied > 0 {
			err = second.check(store, done.copied)
		}
		if closeErr := store.Close(); err != nil || closeErr != nil {
			t.Fatalf("round %d: %v, close: %v", round, err, closeErr)
		}
	}
	if second.model.Position().Index == 0 {
		t.Fatal("no restore was ever committed")
	}
	t.Logf("%d rounds, %d entries replayed, %d restored", rounds, first.model.Position().Index, second.model.Position().Index)
}

// survivor is what must be left of a group after a crash.
type survivor struct {
	t     *testing.T
	group pinetree.GroupID
	model engine.Engine
	next  func() engine.Write // that the model lacks
}

func newSurvivor(t *testing.T, b enginetest.Backend, id pinetree.GroupID) *survivor {
	return &survivor{t: t, group: id, model: enginetest.Memory(t), next: b.BigWrites(t, killedSeed)}
}

// check compares what a crash left with the model, which it brings to the same
// index. At least what the child called done must be there.
func (s *survivor) check(store engine.Store, done pinetree.RaftIndex) error {
	s.t.Helper()
	e, err := store.Open(s.group)
	if err != nil {
		return fmt.Errorf("group %d: index %d was done: %w", s.group, done, err)
	}
	got := e.Position()
	if got.Index < done || got.Index < s.model.Position().Index {
		return fmt.Errorf("group %d: the position is %d, the child had done %d, and %d was there before", s.group, got.Index, done, s.model.Position().Index)
	}
	for s.model.Position().Index < got.Index {
		if err := s.model.Apply(s.next()); err != nil {
			return err
		}
	}
	want := s.model.Position().Clone()
	if s.group == 2 {
		want.Restored = got.Index
	}
	return enginetest.Same(s.t, e, s.model, want)
}

// done is what the child said: the last index that it flushed, and the one of
// the last restore that it committed.
type done struct{ flushed, copied pinetree.RaftIndex }

// runAndCrash starts the child and ends it a while after its first flush, or
// its first restore.
func runAndCrash(t *testing.T, how crash, random *rand.Rand, restored bool) done {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	child.Env = append(os.Environ(), killedDir+"="+how.dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaint bytes.Buffer
	child.Stderr = &complaint
	defer how.after()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(killedLimit, func() { _ = child.Process.Kill() })
	defer watchdog.Stop()
	var said done
	var other []string
	killed, ended := false, make(chan struct{})
	var begun atomic.Bool
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if how.blind && begun.Load() {
			continue
		}
		if !said.hear(lines.Text()) {
			other = append(other, lines.Text())
			continue
		}
		if !killed && (said.copied > 0 || !restored) {
			killed = true
			time.AfterFunc(time.Duration(random.IntN(400))*time.Millisecond, func() {
				defer close(ended)
				begun.Store(true)
				how.now(child.Process)
			})
		}
	}
	if err := child.Wait(); err == nil || !killed {
		t.Fatalf("the child was to be killed, it ended: %v\n%s\n%s", err, strings.Join(other, "\n"), complaint.String())
	}
	<-ended
	return said
}

func (d *done) hear(line string) bool {
	for prefix, index := range map[string]*pinetree.RaftIndex{killedLine: &d.flushed, copiedLine: &d.copied} {
		if n, ok := strings.CutPrefix(line, prefix); ok {
			_, err := fmt.Sscan(n, index)
			return err == nil
		}
	}
	return false
}

// applyUntilKilled is the child.
func applyUntilKilled(t *testing.T, b enginetest.Backend, dir string) {
	store, err := b.Open(dir)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if err := store.Create(1, pinetree.Position{}); err != nil {
		t.Fatalf("create: %v", err)
	}
	e, err := store.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	next := b.BigWrites(t, killedSeed)
	for start := time.Now(); time.Since(start) < killedLimit; {
		write := next()
		if write.Position.Index <= e.Position().Index {
			continue
		}
		if err := e.Apply(write); err != nil {
			t.Fatal(err)
		}
		if write.Position.Index%4 == 0 {
			if _, err := e.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Printf("%s%d\n", killedLine, e.Flushed().Index)
		if write.Position.Index%8 == 0 {
			fmt.Printf("%s%d\n", copiedLine, enginetest.CopyGroup(t, store, 1, 2, 3))
		}
	}
	t.Fatal("not killed")
}
