package fanout

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// journal makes a log of batches whose bytes tell them apart.
type journal struct {
	batches []pinetree.Batch
	end     pinetree.LSN
}

// add makes the next batch: a record of the size, whose LSN is so much higher.
func (j *journal) add(step pinetree.LSN, size int) pinetree.Batch {
	payload := bytes.Repeat([]byte{byte(len(j.batches))}, size)
	b, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{Prev: j.end, LSN: j.end + step, Payload: payload}})
	if err != nil {
		panic(err)
	}
	j.batches, j.end = append(j.batches, b), b.LSN
	return b
}

// decoded is what a client makes of a message.
func decoded(m *wirepb.OutgoingTail) []pinetree.Batch {
	sent, err := wirepb.Codec{}.Marshal(m)
	if err != nil {
		panic(err)
	}
	var r wirepb.TailResponse
	if err := (wirepb.Codec{}).Unmarshal(sent, &r); err != nil {
		panic(err)
	}
	var list []pinetree.Batch
	for _, encoded := range r.Batches {
		b, rest, err := storepb.DecodeBatch(encoded)
		if err != nil || len(rest) > 0 {
			panic(fmt.Sprintf("%v, %d bytes follow", err, len(rest)))
		}
		list = append(list, b)
	}
	return list
}

// check compares what the window says with what it must hold.
func (w *window) check(t *rapid.T, j *journal) {
	size := len(w.items) * itemBytes
	for _, c := range w.chunks {
		size += cap(c.bytes)
	}
	if size != w.bytes || size > w.limit {
		t.Fatalf("%d bytes in %d chunks and %d batches; it says %d, the limit is %d", size, len(w.chunks), len(w.items), w.bytes, w.limit)
	}
	if w.end != j.end {
		t.Fatalf("ends at %s, want %s", w.end, j.end)
	}
	newest := j.batches[len(j.batches)-len(w.items):]
	for i, it := range w.items {
		if it.prev != newest[i].Prev || it.lsn != newest[i].LSN {
			t.Fatalf("batch %d is (%s, %s], want (%s, %s]", i, it.prev, it.lsn, newest[i].Prev, newest[i].LSN)
		}
	}
}

func TestWindowHoldsTheNewestBatchesWithinItsLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var j journal
		w := window{limit: rapid.IntRange(100, 20_000).Draw(t, "limit")}
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				w.limit = rapid.IntRange(100, 20_000).Draw(t, "new limit")
				w.trim()
			case 1: // what a snapshot brought is not pushed
				j.add(1, 1)
				w.push(j.add(1, 1))
			default:
				step := rapid.Uint64Range(1, 50).Draw(t, "step")
				w.push(j.add(pinetree.LSN(step), rapid.IntRange(0, 3_000).Draw(t, "size")))
			}
			w.check(t, &j)
			from := pinetree.LSN(rapid.Uint64Range(0, uint64(j.end)).Draw(t, "from"))
			first, held := w.following(from)
			if held != (len(w.items) > 0 && from >= w.items[0].prev && from < j.end) {
				t.Fatalf("says %v about what follows on %s in (%s]", held, from, j.end)
			}
			if !held {
				continue
			}
			limit := rapid.IntRange(1, 8_000).Draw(t, "answer")
			upTo := j.batches[rapid.IntRange(0, len(j.batches)-1).Draw(t, "up to")].LSN
			if first.lsn > upTo {
				continue
			}
			s := w.from(from, upTo, limit)
			size, at := 0, pinetree.LSN(0)
			for i, b := range decoded(wirepb.NewOutgoingTail(s.pieces, 0)) {
				if i == 0 && (b.Prev > from || b.LSN <= from) || i > 0 && b.Prev != at {
					t.Fatalf("batch %d after %s is (%s, %s], the one before ends at %s", i, from, b.Prev, b.LSN, at)
				}
				at = b.LSN
				if size += wirepb.TailBatchBytes(b.Size()); i > 0 && size > limit {
					t.Fatalf("%d bytes, the limit is %d", size, limit)
				}
			}
			if at != s.to || at > upTo {
				t.Fatalf("ends at %s and says %s, and no more than %s was asked for", at, s.to, upTo)
			}
		}
	})
}

func TestWhatWasGivenOutNeverChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var j journal
		w := window{limit: 10_000}
		type given struct {
			m    *wirepb.OutgoingTail
			want [32]byte
		}
		var out []given
		for range 60 {
			w.push(j.add(1, rapid.IntRange(0, 1_000).Draw(t, "size")))
			from := w.items[rapid.IntRange(0, len(w.items)-1).Draw(t, "from")].prev
			m := wirepb.NewOutgoingTail(w.from(from, w.end, 4_000).pieces, 0)
			out = append(out, given{m, digest(m)})
		}
		for _, g := range out {
			if digest(g.m) != g.want {
				t.Fatal("a message has changed after it was given out")
			}
		}
	})
}

func digest(m *wirepb.OutgoingTail) [32]byte {
	sent, err := wirepb.Codec{}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return sha256.Sum256(sent.Materialize())
}
