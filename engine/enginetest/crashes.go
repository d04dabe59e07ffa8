package enginetest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
)

// What follows is for package crashtest, which ends processes and looks at what
// is left.

// Writes makes the writes of a group, one after the other from index 1 on, of
// volumes that the backend takes. The same seed makes the same writes, in this
// process or another.
func (b Backend) Writes(t testing.TB, seed uint64) func() engine.Write {
	return b.workload(t, seed).next
}

// BigWrites is Writes with, now and then, one of several megabytes with many
// batches.
func (b Backend) BigWrites(t testing.TB, seed uint64) func() engine.Write {
	w := b.workload(t, seed)
	return func() engine.Write {
		write := w.next()
		if w.random.IntN(8) != 0 {
			return write
		}
		writes := []engine.Write{write}
		for range 4 {
			if v, ok := w.position.Volumes[1]; ok {
				w.batch(1, record{v.LSN + 9, w.bytes(1 << 20)}, record{v.LSN + 18, w.bytes(1 << 20)})
			}
			writes = append(writes, w.next())
		}
		return merge(writes)
	}
}

// Memory is an empty group in memory, for a model.
func Memory(t testing.TB) engine.Engine { return memory(t) }

// Same compares a group with a model of it, by its position, which is to be the
// one wanted, by digests and by random reads.
func Same(t testing.TB, e, model engine.Engine, want pinetree.Position) error {
	t.Helper()
	if diff := cmp.Diff(want, e.Position(), cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("position, want (-) and got (+):\n%s", diff)
	}
	random := rand.New(rand.NewPCG(uint64(want.Index), 0))
	compareDigests(t, random, e, model)
	compareReads(t, random, e, model, 30)
	return nil
}

// CopyGroup restores one group into a second one and half of it into a third,
// which is not committed. It returns the index of what it copied.
func CopyGroup(t testing.TB, store engine.Store, from, to, half pinetree.GroupID) pinetree.RaftIndex {
	t.Helper()
	snapshot := take(t, store, from)
	snapshot.restore(t, store, to)
	r, err := store.Restore(half, snapshot.at)
	if err != nil {
		t.Fatal(err)
	}
	for _, chunk := range snapshot.chunks[:len(snapshot.chunks)/2] {
		if err := r.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return snapshot.at.Index
}
