// Package outbox holds what a writer has appended to a volume's log and nobody has
// acknowledged yet: it cuts records into batches and says which of them are to be
// sent. It is pure: it knows neither connections nor time.
package outbox

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Box is what a writer has appended and nobody has acknowledged: first the
// batches that were cut, the older of them sent on the present connection, then
// the records that wait to be cut. It has no clock, goroutine or I/O; the
// owner's lock guards it.
//
// A batch, once cut, is resent as it is: a storage node recognises the second
// copy of the same batch, but not the same records cut otherwise.
//
// Invariants:
//
//	durable ≤ tail; both rise
//	batches, then pending, are a gapless chain from durable to tail
//	batches[:sent] were sent on the present connection, in order
//	flightBytes is the size of batches[:sent], batchBytes that of all
type Box struct {
	limits       Limits
	durable      pinetree.LSN
	tail         pinetree.LSN
	batches      []Batch
	sent         int
	flightBytes  int
	batchBytes   int
	pending      []pinetree.Record
	units        []unit // what pending consists of
	pendingBytes int
	// flightLimit is flightBytes' bound: small when a connection begins, doubled by
	// a flight's acknowledgements up to flightGoal and raised by a quarter from
	// there. The goal is what it was before, lowered when a storage node's queue was
	// full.
	flightLimit, flightGoal int
}

// Limits of a Box.
type Limits struct {
	// BatchBytes is the size at which a batch is full, WindowBytes bounds what is not
	// acknowledged, and SmallBatches is how many batches may be in flight while the
	// next one is not full.
	BatchBytes, WindowBytes, SmallBatches int
}

// Batch is one that was cut, and when, which is when it was first sent.
type Batch struct {
	pinetree.Batch
	Cut time.Time
}

// unit is what one Append brought. Its records are not put into different
// batches unless no batch can hold them all.
type unit struct{ records, bytes int }

// recordBytes is an upper bound of a record's share of an encoded batch.
func recordBytes(r pinetree.Record) int { return 2*binary.MaxVarintLen64 + len(r.Payload) }

// headerBytes is an upper bound of what a batch adds to its records.
const headerBytes = 64

// New makes an empty box of a log that is durable up to an LSN.
func New(limits Limits, durable pinetree.LSN) *Box {
	return &Box{limits: limits, durable: durable, tail: durable, flightLimit: limits.WindowBytes, flightGoal: limits.WindowBytes}
}

// Check tells whether records may follow on the tail, and their size.
func (o *Box) Check(records []pinetree.Record) (size int, err error) {
	at := o.tail
	for _, r := range records {
		switch {
		case r.Prev != at:
			return 0, fmt.Errorf("%w: record (%s, %s] does not follow on the log, which ends at %s; append the record whose prev is %s", pinetree.ErrBadBatch, r.Prev, r.LSN, at, at)
		case r.LSN <= r.Prev:
			return 0, fmt.Errorf("%w: record (%s, %s] covers nothing", pinetree.ErrBadBatch, r.Prev, r.LSN)
		case recordBytes(r)+headerBytes > storepb.MaxBatchBytes:
			return 0, fmt.Errorf("%w: record (%s, %s] has %d bytes, at most %d fit in a batch", pinetree.ErrBadBatch, r.Prev, r.LSN, len(r.Payload), storepb.MaxBatchBytes-headerBytes)
		}
		size += recordBytes(r)
		at = r.LSN
	}
	return size, nil
}

// Durable is how far the log is durable; the box has what comes after.
func (o *Box) Durable() pinetree.LSN { return o.durable }

// Tail is where the last record that was added ends.
func (o *Box) Tail() pinetree.LSN { return o.tail }

// Batches are those that were cut and are not acknowledged. The slice is shared.
func (o *Box) Batches() []Batch { return o.batches }

// FlightBytes is the size of what was sent on this connection and is not
// acknowledged.
func (o *Box) FlightBytes() int { return o.flightBytes }

// Buffered is what counts towards the window.
func (o *Box) Buffered() int { return o.batchBytes + o.pendingBytes }

// Fits tells whether a unit of a size may be added now. One always fits in an
// empty box.
func (o *Box) Fits(size int) bool {
	return o.Buffered() == 0 || o.Buffered()+size <= o.limits.WindowBytes
}

// Add takes a unit of that size, both as they were checked. One that is too large
// for a batch is divided.
func (o *Box) Add(records []pinetree.Record, size int) {
	if size+headerBytes <= storepb.MaxBatchBytes {
		o.units = append(o.units, unit{len(records), size})
	} else {
		for _, r := range records {
			o.units = append(o.units, unit{1, recordBytes(r)})
		}
	}
	o.pending = append(o.pending, records...)
	o.pendingBytes += size
	o.tail = records[len(records)-1].LSN
}

// Next returns the batches to send now, as many as maxBytes and the flight
// limit allow, and counts them as sent.
func (o *Box) Next(maxBytes int) []Batch {
	from, size := o.sent, 0
	for o.sent < len(o.batches) {
		b := o.batches[o.sent]
		if o.sent > from && size+b.Size() > maxBytes || !o.mayFly(b.Size()) {
			break
		}
		size += b.Size()
		o.flightBytes += b.Size()
		o.sent++
	}
	return slices.Clone(o.batches[from:o.sent])
}

func (o *Box) mayFly(size int) bool {
	return o.flightBytes == 0 || o.flightBytes+size <= o.flightLimit
}

// Cut removes the records of the next batch, if it is time for one: when a
// full one has come together, or too little is in flight to wait for that. The
// caller encodes them, clears the slice, which is part of a longer one, and hands
// the batch to Seal.
func (o *Box) Cut() []pinetree.Record {
	full := o.pendingBytes >= o.limits.BatchBytes
	if len(o.units) == 0 || o.sent < len(o.batches) || !full && len(o.batches) >= o.limits.SmallBatches || !o.mayFly(o.units[0].bytes) {
		return nil
	}
	n, count, size := 0, 0, 0
	for n < len(o.units) && (n == 0 || size+o.units[n].bytes <= o.limits.BatchBytes) {
		count += o.units[n].records
		size += o.units[n].bytes
		n++
	}
	records := o.pending[:count:count]
	o.pending, o.units = o.pending[count:], o.units[n:]
	if len(o.pending) == 0 {
		o.pending = make([]pinetree.Record, 0, count) // as many are likely to come again
	}
	o.pendingBytes -= size
	return records
}

// Seal takes the encoded batch of the records that were cut last.
func (o *Box) Seal(b Batch) {
	o.batches = append(o.batches, b)
	o.batchBytes += b.Size()
}

// Ack takes note that the log is durable up to an LSN and returns the batches
// that are acknowledged by that. An LSN that does not end one of the batches is
// another writer's, which ships under the same compute term.
func (o *Box) Ack(durable pinetree.LSN) ([]Batch, error) {
	if durable <= o.durable {
		return nil, nil
	}
	n := 0
	for n < len(o.batches) && o.batches[n].LSN <= durable {
		n++
	}
	if n == 0 || o.batches[n-1].LSN != durable {
		return nil, fmt.Errorf("%w: the log is durable up to %s, where no batch of this writer ends (it has appended up to %s): another writer ships under the same compute term", pinetree.ErrBadBatch, durable, o.tail)
	}
	acked := slices.Clone(o.batches[:n])
	for _, b := range acked[:min(n, o.sent)] {
		o.flightBytes -= b.Size()
	}
	clear(o.batches[:n]) // Their memory is free, although the array is not.
	o.batches = o.batches[n:]
	o.sent = max(0, o.sent-n)
	o.durable = durable
	for _, b := range acked {
		o.batchBytes -= b.Size()
		more := b.Size()
		if o.flightLimit >= o.flightGoal {
			more /= 4
		}
		o.flightLimit = min(o.limits.WindowBytes, o.flightLimit+more)
	}
	return acked, nil
}

// Resend makes Next return again every batch after an LSN.
func (o *Box) Resend(from pinetree.LSN) {
	for o.sent > 0 && o.batches[o.sent-1].LSN > from {
		o.sent--
		o.flightBytes -= o.batches[o.sent].Size()
	}
}

// firstFlightBytes is what may be in flight first on a new connection, if there
// is more than one batch. What a new leader is sent first is on the disks of a
// quorum soon, and what follows does not compete with it.
const firstFlightBytes = 32 << 10

// Restart begins anew on another connection: every batch after an LSN is sent
// again, few at first.
func (o *Box) Restart(from pinetree.LSN) {
	o.Resend(from)
	o.flightGoal = max(o.flightGoal, o.flightLimit)
	o.flightLimit = min(o.flightLimit, firstFlightBytes)
}

// Slower halves what may be in flight, after a full queue.
func (o *Box) Slower() {
	o.flightLimit = max(o.limits.BatchBytes, min(o.flightLimit, o.flightBytes)/2)
	o.flightGoal = o.flightLimit
}
