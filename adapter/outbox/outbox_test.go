package outbox

import (
	"bytes"
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
		begins := map[pinetree.LSN]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				var unit []pinetree.Record
				at := o.tail
				for range rapid.IntRange(1, 4).Draw(t, "records") {
					r := pinetree.Record{Prev: at, LSN: at + pinetree.LSN(rapid.IntRange(1, 9).Draw(t, "step")), Payload: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload")}
					unit, at = append(unit, r), r.LSN
				}
				size, err := o.Check(unit)
				if err != nil {
					t.Fatal(err)
				}
				if o.Fits(size) {
					begins[unit[0].Prev] = true
					appended = append(appended, unit...)
					o.Add(unit, size)
					clear(unit) // it is the caller's again
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
			"cut": func(t *rapid.T) { cut(t, o) },
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
			"": func(t *rapid.T) {
				checkOutbox(t, o, appended, acked)
				for _, b := range o.batches {
					if !begins[b.Prev] {
						t.Fatalf("batch (%s, %s] divides what was appended together", b.Prev, b.LSN)
					}
				}
			},
		})
	})
}

// add adds records together.
func add(t interface{ Fatal(...any) }, o *Box, records ...pinetree.Record) {
	size, err := o.Check(records)
	if err != nil {
		t.Fatal(err)
	}
	o.Add(records, size)
}

// cut encodes and seals the next batch, if it is time for one.
func cut(t interface{ Fatal(...any) }, o *Box) bool {
	records := o.Cut()
	if len(records) == 0 {
		return false
	}
	b, err := storepb.EncodeBatch(1, 1, records)
	if err != nil {
		t.Fatal(err)
	}
	clear(records)
	o.Seal(Batch{b, time.Time{}})
	return true
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
	pending, records := 0, o.pending
	for _, u := range o.units {
		for _, r := range records[:u.records] {
			if r.Prev != at {
				t.Fatalf("record (%s, %s] follows on %s", r.Prev, r.LSN, at)
			}
			at = r.LSN
		}
		pending, records = pending+u.bytes, records[u.records:]
	}
	if len(records) > 0 {
		t.Fatalf("%d records belong to nothing that was appended", len(records))
	}
	if at != o.tail || flight != o.flightBytes || all != o.batchBytes || pending != o.pendingBytes {
		t.Fatalf("counted %s, %d, %d, %d; the outbox says %s, %d, %d, %d", at, flight, all, pending, o.tail, o.flightBytes, o.batchBytes, o.pendingBytes)
	}
	for i, r := range acked {
		if a := appended[i]; r.Prev != a.Prev || r.LSN != a.LSN || !bytes.Equal(r.Payload, a.Payload) {
			t.Fatalf("acknowledged record %d is %+v, appended was %+v", i, r, a)
		}
	}
}

func TestOutboxSendsEverythingInTheEnd(t *testing.T) {
	o := New(Limits{BatchBytes: 500, WindowBytes: 1 << 20, SmallBatches: 1}, 0)
	for i := range pinetree.LSN(100) {
		add(t, o, pinetree.Record{Prev: i, LSN: i + 1, Payload: make([]byte, 50)})
	}
	o.Slower() // the least that may be in flight
	for rounds := 0; o.Buffered() > 0; rounds++ {
		if rounds > 1000 {
			t.Fatalf("stuck with %d bytes", o.Buffered())
		}
		cut(t, o)
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
		add(t, o, pinetree.Record{Prev: i, LSN: i + 1, Payload: make([]byte, size-headerBytes-32)})
	}
	for cut(t, o) {
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
