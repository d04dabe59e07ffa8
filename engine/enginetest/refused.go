package enginetest

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// testRestoreRefuses gives a Restore what is no whole snapshot of its backend
// and position. It is refused, and the old state stays.
func testRestoreRefuses(t *testing.T, b Backend) {
	from, to := newBench(t, b), newBench(t, b)
	source, other := newHistory(t, b, from.create(1), 35), newHistory(t, b, to.create(1), 36)
	source.run(20)
	source.big()
	other.run(20)
	good := take(t, from.store, 1)
	source.run(5)
	later := take(t, from.store, 1)
	for _, c := range []struct {
		name   string
		chunks [][]byte
		want   []string // in the error, which is one of damage when there are none
	}{
		{"the first chunk missing", good.chunks[1:], []string{"chunk 1 ", "chunk 0 "}},
		{"a chunk missing", append(good.chunks[:1:1], good.chunks[2:]...), []string{"chunk 2 ", "chunk 1 "}},
		{"a chunk twice", append(good.chunks[:2:2], good.chunks[1:]...), []string{"chunk 1 ", "chunk 2 "}},
		{"more after the last chunk", append(good.chunks[:len(good.chunks):len(good.chunks)], good.chunks[0]), []string{"after the last one"}},
		{"the last chunk missing", good.chunks[:len(good.chunks)-1], []string{"is not whole"}},
		{"nothing", nil, []string{"is not whole"}},
		{"a chunk of another snapshot", append(good.chunks[:1:1], later.chunks[1:]...), []string{"index 26 ", "index 21 "}},
		{"another backend", ofAnother(t, good), []string{`"another"`}},
		{"a chunk cut short", append(good.chunks[:1:1], good.chunks[1][:len(good.chunks[1])-1]), nil},
		{"an empty chunk", [][]byte{nil}, nil},
	} {
		wantRefused(t, to, taken{at: good.at, chunks: c.chunks}, c.name, c.want)
		other.check(other.real)
	}
	random := rand.New(rand.NewPCG(1, 35))
	for i := range 64 {
		at := i // first each byte of the header, then anywhere
		n := random.IntN(len(good.chunks))
		if i >= 32 {
			at = random.IntN(len(good.chunks[n]))
		}
		chunks := append([][]byte(nil), good.chunks...)
		chunks[n] = bytes.Clone(chunks[n])
		chunks[n][at%len(chunks[n])] ^= 1 << random.IntN(8)
		wantRefused(t, to, taken{at: good.at, chunks: chunks}, "a flipped bit", nil)
	}
	other.check(other.real)
	good.restore(t, to.store, 1) // what was refused does not stand in the way
	to.reopen()
	wantPosition(t, to.engine(1), good.restored())
}

// ofAnother is the snapshot with the name of another backend.
func ofAnother(t *testing.T, s taken) (chunks [][]byte) {
	w := engine.NewChunkWriter(engine.StreamOf("another", s.at), func(chunk []byte) error {
		chunks = append(chunks, bytes.Clone(chunk))
		return nil
	})
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	return chunks
}

// wantRefused writes and commits, and wants an error from one of them and from
// all that is tried after it.
func wantRefused(t *testing.T, x *bench, s taken, name string, want []string) {
	t.Helper()
	r, err := x.store.Restore(1, s.at)
	if err != nil {
		t.Fatal(err)
	}
	for _, chunk := range s.chunks {
		if err = r.Write(chunk); err != nil {
			break
		}
	}
	if err == nil {
		err = r.Commit()
	}
	if err == nil {
		t.Fatalf("%s: committed", name)
	}
	if len(want) == 0 {
		wantError(t, name, err, pinetree.ErrCorrupt)
	}
	for _, words := range want {
		if !strings.Contains(err.Error(), words) {
			t.Fatalf("%s: error %q, want %q in it", name, err, words)
		}
	}
	if r.Write(take(t, x.store, 1).chunks[0]) == nil || r.Commit() == nil {
		t.Fatalf("%s: after the error the restore went on", name)
	}
	if err := r.Close(); err != nil {
		t.Fatalf("%s: close: %v", name, err)
	}
}

// testRestoreIsDropped leaves restores without a commit in every way.
func testRestoreIsDropped(t *testing.T, b Backend) {
	from, to := newBench(t, b), newBench(t, b)
	source, other := newHistory(t, b, from.create(1), 37), newHistory(t, b, to.create(1), 38)
	source.run(30)
	other.run(30)
	good := take(t, from.store, 1)

	first := good.begin(t, to.store, 1)
	_, err := to.store.Restore(1, good.at)
	wantError(t, "a second restore of the group", err, pinetree.ErrQueueFull)
	if err := good.begin(t, to.store, 2).Close(); err != nil {
		t.Fatal(err)
	}
	wantGroups(to, 1) // group 2 was never committed
	_, err = to.store.Open(2)
	wantError(t, "open of a group that was not committed", err, pinetree.ErrUnknownGroup)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantError(t, "commit after close", first.Commit(), pinetree.ErrStopped)
		if err := first.Close(); err != nil {
			t.Fatalf("close again: %v", err)
		}
	}
	other.check(other.real)

	cut := good.begin(t, to.store, 1)
	flush(t, other.real)
	to.reopen()
	if cut.Commit() == nil {
		t.Fatal("a restore from before the store was closed was committed")
	}
	if err := cut.Close(); err != nil {
		t.Fatal(err)
	}
	other.real = to.engine(1)
	other.check(other.real)
	other.run(10)
	other.check(other.real)

	orphan := good.begin(t, to.store, 1)
	if err := to.store.Remove(1); err != nil {
		t.Fatal(err)
	}
	wantError(t, "commit after the group was removed", orphan.Commit(), pinetree.ErrStopped)
	if err := orphan.Close(); err != nil {
		t.Fatal(err)
	}
	wantGroups(to)
	good.restore(t, to.store, 1)
	committed := good.begin(t, to.store, 1)
	if err := committed.Commit(); err != nil {
		t.Fatal(err)
	}
	if committed.Commit() == nil {
		t.Fatal("committed twice")
	}
	if err := committed.Close(); err != nil {
		t.Fatal(err)
	}
	source.check(to.engine(1))
}
