package outbox

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// TestOutboxKeepsItsInvariants drives an outbox by random calls and checks
// after each that nothing is lost, sent twice on one connection, or miscounted.
func TestOutboxKeepsItsInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := New(Limits{BatchBytes: 500, WindowBytes: 3000, SmallBatches: 2}, 0)
		var appended, acked []pinetree.Record
		onWire := pinetree.LSN(0) // end of what was sent on this connection
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				var unit []pinetree.Record
				at := o.tail
				for range rapid.IntRange(1, 4).Draw(t, "records") {
					r := pinetree.Record{Prev: at, LSN: at + pinetree.LSN(rapid.IntRange(1, 9).Draw(t, "step")), Payload: make([]byte, rapid.IntRange(0, 300).Draw(t, "size"))}
					unit, at = append(unit, r), r.LSN
				}
				size, err := o.Check(unit)
				if err != nil {
					t.Fatal(err)
				}
				if o.Fits(size) {
					o.Add(unit)
					appended = append(appended, unit...)
				} else if o.Buffered()+size <= o.limits.WindowBytes {
					t.Fatal("refused within the window")
				}
			},
			"send": func(t *rapid.T) {
				for _, b := range o.Next(rapid.IntRange(1, 2000).Draw(t, "request")) {
					if b.Prev != onWire {
						t.Fatalf("sent (%s, %s] after %s", b.Prev, b.LSN, onWire)
					}
					onWire = b.LSN
				}
			},
			"cut": func(t *rapid.T) {
				if records := o.Cut(); len(records) > 0 {
					b, err := storepb.EncodeBatch(1, 1, records)
					if err != nil {
						t.Fatal(err)
					}
					o.Seal(Batch{b, time.Time{}})
				}
			},
			"ack": func(t *rapid.T) {
				if len(o.batches) == 0 {
					return
				}
				// What is acknowledged may have been sent on an earlier connection.
				done, err := o.Ack(o.batches[rapid.IntRange(0, len(o.batches)-1).Draw(t, "batch")].LSN)
				if err != nil {
					t.Fatal(err)
				}
				for _, b := range done {
					if err := storepb.Records(b.Batch, func(r pinetree.Record) error { acked = append(acked, r); return nil }); err != nil {
						t.Fatal(err)
					}
				}
				onWire = max(onWire, o.durable)
			},
			"foreign ack": func(t *rapid.T) {
				before := *o
				if _, err := o.Ack(o.tail + 1); err == nil || o.durable != before.durable || len(o.batches) != len(before.batches) {
					t.Fatal("another writer's LSN was taken for ours")
				}
			},
			"resend":  func(t *rapid.T) { o.Resend(o.durable); onWire = o.durable },
			"restart": func(t *rapid.T) { o.Restart(o.durable); onWire = o.durable },
			"slower":  func(t *rapid.T) { o.Slower() },
			"":        func(t *rapid.T) { checkOutbox(t, o, appended, acked) },
		})
	})
}

func checkOutbox(t *rapid.T, o *Box, appended, acked []pinetree.Record) {
	flight, all, at := 0, 0, o.durable
	for i, b := range o.batches {
		if b.Prev != at {
			t.Fatalf("batch (%s, %s] follows on %s", b.Prev, b.LSN, at)
		}
		if at = b.LSN; i < o.sent {
			flight += b.Size()
		}
		all += b.Size()
	}
	pending := 0
	for _, u := range o.pending {
		for _, r := range u.records {
			if r.Prev != at {
				t.Fatalf("record (%s, %s] follows on %s", r.Prev, r.LSN, at)
			}
			at = r.LSN
			pending += recordBytes(r)
		}
	}
	if at != o.tail || flight != o.flightBytes || all != o.batchBytes || pending != o.pendingBytes {
		t.Fatalf("counted %s, %d, %d, %d; the outbox says %s, %d, %d, %d", at, flight, all, pending, o.tail, o.flightBytes, o.batchBytes, o.pendingBytes)
	}
	for i, r := range acked {
		if r.LSN != appended[i].LSN {
			t.Fatalf("acknowledged record %d is %s, appended was %s", i, r.LSN, appended[i].LSN)
		}
	}
}

func TestOutboxSendsEverythingInTheEnd(t *testing.T) {
	o := New(Limits{BatchBytes: 500, WindowBytes: 1 << 20, SmallBatches: 1}, 0)
	for i := range pinetree.LSN(100) {
		o.Add([]pinetree.Record{{Prev: i, LSN: i + 1, Payload: make([]byte, 50)}})
	}
	o.Slower() // the least that may be in flight
	for rounds := 0; o.Buffered() > 0; rounds++ {
		if rounds > 1000 {
			t.Fatalf("stuck with %d bytes", o.Buffered())
		}
		if records := o.Cut(); len(records) > 0 {
			b, err := storepb.EncodeBatch(1, 1, records)
			if err != nil {
				t.Fatal(err)
			}
			o.Seal(Batch{b, time.Time{}})
		}
		if sent := o.Next(1 << 20); len(sent) > 0 {
			_, err := o.Ack(sent[len(sent)-1].LSN)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAFlightGrowsFromSmall: on a new connection little is in flight before the
// first acknowledgement, and a megabyte soon afterwards.
func TestAFlightGrowsFromSmall(t *testing.T) {
	const size = 8 << 10
	o := New(Limits{BatchBytes: size, WindowBytes: 4 << 20, SmallBatches: 2}, 0)
	for i := range pinetree.LSN(500) {
		o.Add([]pinetree.Record{{Prev: i, LSN: i + 1, Payload: make([]byte, size-headerBytes-32)}})
	}
	for {
		records := o.Cut()
		if len(records) == 0 {
			break
		}
		b, err := storepb.EncodeBatch(1, 1, records)
		if err != nil {
			t.Fatal(err)
		}
		o.Seal(Batch{b, time.Time{}})
		o.Next(1 << 20)
	}
	o.Restart(0)
	var flights []int
	for len(flights) == 0 || flights[len(flights)-1] < 1<<20 {
		sent := o.Next(1 << 30)
		if flights = append(flights, o.flightBytes); len(sent) == 0 {
			t.Fatalf("nothing flies after %v", flights)
		}
		_, err := o.Ack(sent[len(sent)/2].LSN)
		if err != nil {
			t.Fatal(err)
		}
	}
	if flights[0] > firstFlightBytes || len(flights) > 12 {
		t.Errorf("flights of %v bytes", flights)
	}
}
