package enginetest

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
)

const (
	killedDir   = "PINETREE_ENGINETEST_KILLED_DIR"
	killedSeed  = 21
	killedLine  = "flushed up to index "
	killedLimit = 30 * time.Second // after which a child ends by itself
)

// RunKilled kills a process that applies writes, with SIGKILL and at a random
// moment, again and again in one directory, and looks at what is left: the
// position is that of a whole write and not below what the child called
// flushed, and the data are those of that position. The child is this test
// binary, run with the name of the calling test, which must not be a subtest
// and must do nothing else.
//
// What a killed process wrote is in the page cache, so this shows that writes
// are whole and in order; that they are fsynced takes a power cut.
func RunKilled(t *testing.T, b Backend, rounds int) {
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

func runCrashes(t *testing.T, b Backend, how crash, rounds int) {
	t.Helper()
	model, source := memory(t), newKilledSource(t, b)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for round := range rounds {
		flushed := runAndCrash(t, how, random)
		store, err := b.Open(how.dir)
		if err != nil {
			t.Fatalf("round %d: open after the crash: %v", round, err)
		}
		err = checkSurvivor(t, store, flushed, model, source)
		if closeErr := store.Close(); err != nil || closeErr != nil {
			t.Fatalf("round %d: %v, close: %v", round, err, closeErr)
		}
	}
	t.Logf("%d rounds, %d entries replayed", rounds, model.Position().Index)
}

// checkSurvivor compares what a crash left with the model, which it brings to
// the same index.
func checkSurvivor(t *testing.T, store engine.Store, flushed pinetree.RaftIndex, model engine.Engine, source *killedSource) error {
	t.Helper()
	e, err := store.Open(1)
	if err != nil {
		return fmt.Errorf("index %d was flushed: %w", flushed, err)
	}
	at := e.Position().Index
	if at < flushed || at < model.Position().Index {
		return fmt.Errorf("the position is %d, the child had flushed %d, and %d was there before", at, flushed, model.Position().Index)
	}
	for model.Position().Index < at {
		apply(t, model, source.next())
	}
	random := rand.New(rand.NewPCG(uint64(at), 0))
	wantPosition(t, e, model.Position())
	compareDigests(t, random, e, model)
	compareReads(t, random, e, model, 100)
	return nil
}

// runAndCrash starts the child, ends it a while after its first flush, and
// returns the last index that it called flushed.
func runAndCrash(t *testing.T, how crash, random *rand.Rand) pinetree.RaftIndex {
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
	var flushed pinetree.RaftIndex
	var other []string
	killed, done := false, make(chan struct{})
	var begun atomic.Bool
	for lines := bufio.NewScanner(out); lines.Scan(); {
		n, ok := strings.CutPrefix(lines.Text(), killedLine)
		if !ok {
			other = append(other, lines.Text())
			continue
		}
		if how.blind && begun.Load() {
			continue
		}
		if _, err := fmt.Sscan(n, &flushed); err != nil {
			t.Fatalf("the child wrote %q", lines.Text())
		}
		if !killed {
			killed = true
			time.AfterFunc(time.Duration(random.IntN(200))*time.Millisecond, func() {
				defer close(done)
				begun.Store(true)
				how.now(child.Process)
			})
		}
	}
	if err := child.Wait(); err == nil || !killed {
		t.Fatalf("the child was to be killed, it ended: %v\n%s\n%s", err, strings.Join(other, "\n"), complaint.String())
	}
	<-done
	return flushed
}

// applyUntilKilled is the child.
func applyUntilKilled(t *testing.T, b Backend, dir string) {
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
	source := newKilledSource(t, b)
	for start := time.Now(); time.Since(start) < killedLimit; {
		write := source.next()
		if write.Position.Index <= e.Position().Index {
			continue
		}
		apply(t, e, write)
		fmt.Printf("%s%d\n", killedLine, e.Flushed().Index)
	}
	t.Fatal("not killed")
}

// killedSource makes small writes and, now and then, one of several megabytes
// with many batches.
type killedSource struct{ *workload }

func newKilledSource(t testing.TB, b Backend) *killedSource {
	return &killedSource{b.workload(t, killedSeed)}
}

func (s *killedSource) next() engine.Write {
	write := s.workload.next()
	if s.random.IntN(8) != 0 {
		return write
	}
	writes := []engine.Write{write}
	for range 4 {
		if v, ok := s.position.Volumes[1]; ok {
			s.batch(1, record{v.LSN + 9, s.bytes(1 << 20)}, record{v.LSN + 18, s.bytes(1 << 20)})
		}
		writes = append(writes, s.workload.next())
	}
	return merge(writes)
}
