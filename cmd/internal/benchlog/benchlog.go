// Package benchlog measures raft log stores: how many entries a second become
// durable in batches of several sizes, each with one sync, and what is written
// for them. It knows the contract of stores, and none of them by name.
package benchlog

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog"
)

// Config says what is measured.
type Config struct {
	Batches  []int         // entries in a batch
	Sizes    []int         // bytes of an entry
	Duration time.Duration // of each measurement
	// WarmBytes are written, and compacted away, before the first measurement:
	// a store that uses its files again comes to do so.
	WarmBytes int
	Dir       string // where the stores' files are
}

// Result is one measurement.
type Result struct {
	Store    string  `json:"store"`
	Batch    int     `json:"batch"`
	Bytes    int     `json:"entry_bytes"`
	Entries  float64 `json:"entries_s"`
	MB       float64 `json:"mb_s"`
	P50Micro float64 `json:"p50_us"`
	P99Micro float64 `json:"p99_us"`
	// Syncs are those of files and directories; nil where the store does not
	// count them.
	Syncs *float64 `json:"syncs_per_entry"`
	// Written is by the store's own account, nil where it has none.
	Written *float64 `json:"written_per_payload_byte"`
	// Disk is by the disk's account, what others write meanwhile included; nil
	// where there is no disk.
	Disk *float64 `json:"disk_written_per_payload_byte"`
}

// group is the one that is written to.
const group pinetree.GroupID = 1

// keepBytes is how much of the log is not compacted.
const keepBytes = 48 << 20

// Run measures a store in every shape and tells each result as it comes. It
// does not close the store.
func Run(ctx context.Context, name string, store raftlog.Store, cfg Config, tell func(Result)) error {
	w := &writer{store: store, next: 1}
	const warmEntry = 64 << 10
	for warm := 0; warm < cfg.WarmBytes; warm += 16 * warmEntry {
		if err := w.save(shape{16, warmEntry}); err != nil {
			return fmt.Errorf("warm %s up: %w", name, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	for _, bytes := range cfg.Sizes {
		for _, batch := range cfg.Batches {
			r, err := w.measure(ctx, cfg, shape{batch, bytes})
			if err != nil {
				return fmt.Errorf("%s, batches of %d entries of %d bytes: %w", name, batch, bytes, err)
			}
			r.Store = name
			tell(r)
		}
	}
	return nil
}

type shape struct{ batch, bytes int }

// writer appends to the group's log and compacts it.
type writer struct {
	store   raftlog.Store
	next    uint64
	live    []kept // oldest first
	total   int
	entries []*raftpb.Entry
}

// kept is a batch that is not compacted.
type kept struct {
	last  uint64
	bytes int
}

// measure saves batches of one shape for a while.
func (w *writer) measure(ctx context.Context, cfg Config, s shape) (Result, error) {
	// Old batches of another shape are compacted before the clock starts.
	if err := w.compact(0); err != nil {
		return Result{}, err
	}
	var latency []time.Duration
	before, began := count(w.store, cfg.Dir), time.Now()
	for time.Since(began) < cfg.Duration {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		at := time.Now()
		if err := w.save(s); err != nil {
			return Result{}, err
		}
		latency = append(latency, time.Since(at))
	}
	took, after := time.Since(began).Seconds(), count(w.store, cfg.Dir)
	entries := float64(len(latency) * s.batch)
	payload := entries * float64(s.bytes)
	r := Result{
		Batch: s.batch, Bytes: s.bytes, Entries: entries / took, MB: payload / took / 1e6,
		Syncs: per(entries, before.syncs, after.syncs), Written: per(payload, before.written, after.written), Disk: per(payload, before.disk, after.disk),
	}
	r.P50Micro, r.P99Micro = percentiles(latency)
	return r, nil
}

// save appends one batch, and compacts when more is kept than is to be.
func (w *writer) save(s shape) error {
	batch, bytes := s.batch, s.bytes
	w.entries = make([]*raftpb.Entry, batch) // the store keeps the one before
	term, kind := uint64(1), raftpb.EntryNormal
	data := make([]byte, batch*bytes)
	for i := range data {
		data[i] = byte(i*i>>7) | 1
	}
	for i := range w.entries {
		index := w.next + uint64(i)
		w.entries[i] = &raftpb.Entry{Index: &index, Term: &term, Type: &kind, Data: data[i*bytes : (i+1)*bytes : (i+1)*bytes]}
	}
	w.next += uint64(batch)
	w.live, w.total = append(w.live, kept{w.next - 1, batch * bytes}), w.total+batch*bytes
	if err := w.store.Save([]raftlog.Update{{Group: group, Entries: w.entries, MustSync: true}}); err != nil {
		return err
	}
	if w.total > keepBytes+keepBytes/4 {
		return w.compact(keepBytes)
	}
	return nil
}

// compact drops the oldest batches until so many bytes are left.
func (w *writer) compact(left int) error {
	last := uint64(0)
	for len(w.live) > 0 && w.total > left {
		last, w.total = w.live[0].last, w.total-w.live[0].bytes
		w.live = w.live[1:]
	}
	if last == 0 {
		return nil
	}
	return w.store.Compact(group, pinetree.RaftIndex(last))
}
