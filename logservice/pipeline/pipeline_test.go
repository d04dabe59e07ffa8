package pipeline

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/replay"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

var errDisk = errors.New("disk says no")

// testEngine prepares writes, and fails when it is told to.
type testEngine struct {
	engine.Engine
	failAt  pinetree.RaftIndex // the write that reaches it is not applied
	waiting int                // writes that are prepared and not applied
}

func (e *testEngine) Prepare(w engine.Write) (func() error, error) {
	if e.waiting++; e.waiting > 2 { // one waits, one is being applied
		return nil, errors.New("too many writes are prepared")
	}
	return func() error {
		e.waiting--
		if e.failAt != 0 && w.Position.Index >= e.failAt {
			return errDisk
		}
		return e.Apply(w)
	}, nil
}

func newTestEngine(t *rapid.T) *testEngine {
	s := memengine.New(memengine.Options{})
	start := pinetree.Position{Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {Format: pinetree.FormatOpaque, Terms: []pinetree.TermStart{{Term: 1}}}}}
	if err := s.Create(1, start); err != nil {
		t.Fatal(err)
	}
	e, err := s.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	return &testEngine{Engine: e}
}

// commitOf is an entry with a batch, or one with a transaction on metadata that
// depends on the ones before.
func commitOf(t *rapid.T, index uint64, txn bool) group.Commit {
	var data []byte
	var err error
	if txn {
		data, err = storepb.EncodeControl(storepb.StoreMetaTxn(1, meta.Txn{
			Compares: []meta.Compare{{Key: []byte("k"), Target: meta.TargetVersion, Relation: meta.Less, Number: 1 << 40}},
			Then:     []meta.Op{{Kind: meta.OpPut, Span: meta.Span{Key: []byte("k")}, Value: []byte("v")}},
		}, storepb.Asker(index)))
	} else {
		var b pinetree.Batch
		at := pinetree.LSN(index * 10)
		b, err = storepb.EncodeBatch(1, 1, []pinetree.Record{{Prev: lastBatch[t], LSN: at, Payload: []byte("record")}})
		data, lastBatch[t] = storepb.EncodeBatches([]pinetree.Batch{b}), at
	}
	if err != nil {
		t.Fatal(err)
	}
	return group.Commit{Run: replay.Run{Entries: []*raftpb.Entry{{Index: proto.Uint64(index), Term: proto.Uint64(1), Data: data}}}}
}

var lastBatch = map[*rapid.T]pinetree.LSN{}

// worker is a goroutine in one of the stages, or in none.
type worker struct {
	stage Stage
	write *Write
	flush bool
}

// TestWritesAreAppliedOnceAndInOrder lets several workers be at the stages of a
// line, in any order of their beginnings and ends. The engine refuses what does not
// follow; one that fails sees nothing more.
func TestWritesAreAppliedOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := newTestEngine(t)
		e.failAt = pinetree.RaftIndex(rapid.IntRange(0, 40).Draw(t, "fails at"))
		lastBatch = map[*rapid.T]pinetree.LSN{t: 0}
		l := Line{most: rapid.IntRange(0, 200).Draw(t, "bytes of a write")}
		workers := make([]worker, 3)
		index, flushes := uint64(0), 0
		step := func(add bool) {
			w := &workers[rapid.IntRange(0, len(workers)-1).Draw(t, "worker")]
			switch {
			case add:
				for range rapid.IntRange(1, 3).Draw(t, "commits") {
					index++
					l.Add(commitOf(t, index, rapid.Bool().Draw(t, "transaction")))
				}
				if rapid.IntRange(0, 9).Draw(t, "flush") == 0 {
					l.AskFlush()
					flushes++
				}
			case w.stage == Rest:
				w.begin(&l, e)
			default:
				w.end(t, &l, e)
			}
		}
		for range rapid.IntRange(0, 120).Draw(t, "steps") {
			step(rapid.IntRange(0, 3).Draw(t, "add") == 0)
		}
		for range 1000 {
			if l.Idle() {
				break
			}
			step(false)
		}
		want := pinetree.RaftIndex(index)
		if l.Failed() != nil {
			want = min(want, e.failAt-1)
		}
		if at := e.Position(); !l.Idle() || at.Index > want || l.Failed() == nil && at.Index != want {
			t.Fatalf("idle %v, the engine is at index %d, want %d; failed: %v", l.Idle(), at.Index, want, l.Failed())
		}
		if l.Failed() != nil && !errors.Is(l.Failed(), errDisk) {
			t.Fatal(l.Failed())
		}
		if l.Failed() == nil && l.flush {
			t.Fatalf("no flush after the last of %d askings", flushes)
		}
	})
}

func (w *worker) begin(l *Line, e engine.Engine) {
	switch w.stage = l.Due(); w.stage {
	case Prepare:
		var from replay.State
		w.write, from = l.BeginPrepare(e)
		w.write.Prepare(e, from)
	case Apply:
		w.write, w.flush = l.BeginApply()
	}
}

func (w *worker) end(t *rapid.T, l *Line, e engine.Engine) {
	switch w.stage {
	case Prepare:
		l.EndPrepare(w.write, e)
	case Apply:
		err := l.Failed()
		if w.write != nil && err == nil {
			before := e.Position()
			err = w.write.Apply()
			if at := e.Position(); err == nil && at.Index != w.write.Decision.Position.Index || err != nil && at.Index != before.Index {
				t.Fatalf("the engine went from index %d to %d, the write goes to %d: %v", before.Index, at.Index, w.write.Decision.Position.Index, err)
			}
		}
		l.EndApply(err)
	}
	*w = worker{}
}

// TestAnEntryThatCannotBeReplayedStopsTheLineAfterThoseBefore: what is decided
// ahead fails when its turn comes.
func TestAnEntryThatCannotBeReplayedStopsTheLineAfterThoseBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := newTestEngine(t)
		lastBatch = map[*rapid.T]pinetree.LSN{t: 0}
		var l Line
		l.Add(commitOf(t, 1, false))
		one, two := worker{}, worker{}
		one.begin(&l, e)
		one.end(t, &l, e)
		l.Add(group.Commit{Run: replay.Run{Entries: []*raftpb.Entry{{Index: proto.Uint64(2), Term: proto.Uint64(1), Data: []byte{0xFF, 1, 2}}}}})
		one.begin(&l, e) // the first is being applied
		two.begin(&l, e)
		two.end(t, &l, e)
		if l.Failed() != nil || one.stage != Apply {
			t.Fatalf("failed %v, stage %d", l.Failed(), one.stage)
		}
		one.end(t, &l, e)
		if e.Position().Index != 1 || l.Failed() != nil {
			t.Fatalf("the engine is at index %d: %v", e.Position().Index, l.Failed())
		}
		one.begin(&l, e)
		one.end(t, &l, e)
		if !errors.Is(l.Failed(), pinetree.ErrCorrupt) || e.Position().Index != 1 {
			t.Fatalf("the engine is at index %d: %v", e.Position().Index, l.Failed())
		}
	})
}

// TestNothingIsPreparedOnAStateThatIsBeingReplaced: what is committed meanwhile
// waits for the end.
func TestNothingIsPreparedOnAStateThatIsBeingReplaced(t *testing.T) {
	var l Line
	l.AskChores()
	if l.Due() != Apply || !l.Drained() {
		t.Fatalf("stage %d is due", l.Due())
	}
	l.BeginApply()
	l.Hold()
	l.Add(group.Commit{})
	if l.Due() != Rest {
		t.Fatalf("stage %d is due while the state is replaced", l.Due())
	}
	l.EndApply(nil)
	if l.Due() != Prepare {
		t.Fatalf("stage %d is due afterwards, want the next write to be prepared", l.Due())
	}
}
