package trimming

import (
	"fmt"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Reason names what keeps the log, in one word.
type Reason string

// The reasons.
const (
	Unset   Reason = "unset"   // the volume has no retention
	Age     Reason = "age"     // it is too young
	Bytes   Reason = "bytes"   // too little log follows on it
	Slot    Reason = "slot"    // a slot holds it
	Flush   Reason = "flush"   // it is not surely on this replica's disk
	Nothing Reason = "nothing" // nothing is kept
)

// Question is what a decision is about.
type Question struct {
	Volume  pinetree.VolumePosition
	Flushed pinetree.LSN // surely on this replica's disk
	Now     time.Duration
	// Order, when not zero, is the LSN up to which an operator wants the log gone,
	// whatever the settings say.
	Order pinetree.LSN
}

// Decision is what is to become of a volume's log.
type Decision struct {
	// To is up to where the log is to be truncated; zero when nothing more goes.
	To pinetree.LSN
	// Bytes is about how many bytes of batches are up to To since the volume was
	// made, and Frees how many of them are there.
	Bytes, Frees int64
	// Lost are the slots that hold more than they may.
	Lost []pinetree.Slot
	// What is above To is kept for this Reason, which Because puts in words.
	Reason  Reason
	Because string
}

// Decide tells up to where a volume is to be truncated.
func (h *History) Decide(q Question) Decision {
	v := q.Volume
	var d Decision
	var holding []pinetree.Slot
	for _, s := range v.Slots {
		switch {
		case s.Lost:
		case s.MaxBytes > 0 && v.LogBytes-h.upTo(v, s.LSN) > s.MaxBytes:
			s.Lost = true
			d.Lost = append(d.Lost, s)
		default:
			holding = append(holding, s)
		}
	}
	to := h.wanted(q, &d)
	if holder, held := lowest(holding); held && holder.LSN < to {
		to = max(holder.LSN, v.First())
		d.keep(Slot, "slot %s keeps %s above %s", holder.Name, size(v.LogBytes-h.upTo(v, to)), holder.LSN)
	}
	if q.Flushed < to {
		to = max(q.Flushed, v.First())
		d.keep(Flush, "what is above %s is not surely on this replica's disk yet", q.Flushed)
	}
	if to > v.First() {
		d.To, d.Bytes = to, h.upTo(v, to)
		d.Frees = d.Bytes - v.TruncatedBytes
	}
	if v.LSN == v.First() {
		d.keep(Nothing, "nothing is kept: the log is truncated up to its end")
	}
	return d
}

// wanted is up to where the log would go if nobody held it.
func (h *History) wanted(q Question, d *Decision) pinetree.LSN {
	v, set := q.Volume, q.Volume.Settings
	if q.Order > 0 {
		d.keep(Unset, "nobody has asked for more to go")
		return min(q.Order, v.LSN)
	}
	d.keep(Unset, "nothing is to be truncated: no retention is set")
	to := v.First()
	if set.KeepFor > 0 {
		to = max(to, h.aged(q.Now-set.KeepFor))
		d.keep(Age, "younger than %s", short(set.KeepFor))
	}
	if set.KeepBytes > 0 {
		if lsn := h.behind(v, set.KeepBytes); lsn > to || set.KeepFor == 0 {
			to = max(to, lsn)
			d.keep(Bytes, "less than %s of log follow", size(set.KeepBytes))
		}
	}
	return to
}

func (d *Decision) keep(r Reason, because string, args ...any) {
	d.Reason, d.Because = r, fmt.Sprintf(because, args...)
}

// Change is the decision as a change of the volume; nil when there is nothing to
// change.
func (d Decision) Change(id pinetree.VolumeID) *storepb.ChangeVolume {
	if d.To == 0 && len(d.Lost) == 0 {
		return nil
	}
	c := &storepb.ChangeVolume{Volume: uint64(id), Truncate: uint64(d.To), TruncateBytes: uint64(d.Bytes)}
	for _, s := range d.Lost {
		c.PutSlots = append(c.PutSlots, storepb.StoreSlot(s))
	}
	return c
}

// Step says when what a decision gives back is worth an entry of the raft log.
type Step struct {
	// MinBytes and a part of what is kept are to be given back, or Patience to be
	// over since the last step. It is the Share-th part.
	MinBytes int64
	Share    int64
	Patience time.Duration
}

// DefaultStep is the tested default.
var DefaultStep = Step{MinBytes: 1 << 20, Share: 64, Patience: 30 * time.Second}

// Worth tells whether a decision is to be carried out now, so long after the last
// one of the volume. A slot that is over its bound is given up at once.
func (s Step) Worth(d Decision, v pinetree.VolumePosition, since time.Duration) bool {
	switch {
	case len(d.Lost) > 0:
		return true
	case d.To == 0:
		return false
	}
	return d.Frees >= max(s.MinBytes, v.Kept()/max(s.Share, 1)) || since >= s.Patience
}

// size is a number of bytes as people say it.
func size(bytes int64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d bytes", bytes)
	}
	value, names := float64(bytes)/unit, []string{"KiB", "MiB", "GiB", "TiB", "PiB"}
	for value >= unit && len(names) > 1 {
		value, names = value/unit, names[1:]
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + names[0]
}

// short leaves out the zeros at a duration's end.
func short(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return text
}
