// Package benchreplay measures how fast a replica replays its raft log after a
// restart: it writes a log of committed patches that no engine has, starts a
// node's replica over it, and waits until the engine holds all of it, durably.
// It knows how to make such a log and what a replay costs; which stores to use
// its caller tells.
package benchreplay

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/group"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/logservice/rawnode"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
	"github.com/pinetree-db/pinetree/raftlog"
)

// Config says what is replayed.
type Config struct {
	// Bytes of patches to replay, of PatchBytes each, at random places of
	// random ones of Pages pages of 8 KiB.
	Bytes, PatchBytes, Pages int
	// Hot is how often, of 100 times, one of the first hundredth of the pages is
	// taken.
	Hot int
	// BatchBytes is about how much a writer ships in a batch, EntryBytes how much
	// shares a raft entry.
	BatchBytes, EntryBytes int
}

// Result is what a replay took. Scripts depend on its JSON.
type Result struct {
	Engine      string  `json:"engine"`
	MB          float64 `json:"mb"` // of patches, in millions of bytes
	Seconds     float64 `json:"seconds"`
	MBPerSecond float64 `json:"mb_s"`
	CPUSeconds  float64 `json:"cpu_s"` // of the process, user and system
	MBPerCPU    float64 `json:"mb_cpu_s"`
	Pages       int     `json:"pages"`
	Hot         int     `json:"hot_percent"`
	PatchBytes  int     `json:"patch_size"`
}

// Table writes results one below the other.
func Table(w io.Writer, results []Result) error {
	l := cli.Listing{Columns: []string{"engine", "patch bytes", "pages", "hot %", "MB", "s", "MB/s", "CPU s", "MB/CPU s"}, Empty: "Nothing was measured."}
	for _, r := range results {
		l.Rows = append(l.Rows, []any{
			r.Engine, r.PatchBytes, r.Pages, r.Hot, fmt.Sprintf("%.0f", r.MB), fmt.Sprintf("%.2f", r.Seconds),
			fmt.Sprintf("%.1f", r.MBPerSecond), fmt.Sprintf("%.2f", r.CPUSeconds), fmt.Sprintf("%.1f", r.MBPerCPU),
		})
	}
	return l.Table(w)
}

// Open opens a node's stores.
type Open func() (raftlog.Store, engine.Store, error)

const (
	theGroup  pinetree.GroupID  = 1
	theVolume pinetree.VolumeID = 1
	theNode   pinetree.NodeID   = 1

	pageBytes = 8 << 10
	// saveBytes is how much of the log is written at a time.
	saveBytes = 8 << 20
)

// Check reports settings that cannot be.
func (c Config) Check() error {
	if c.Bytes < 1 || c.PatchBytes < 1 || c.PatchBytes > pageBytes || c.Pages < 1 || c.Hot < 0 || c.Hot > 100 ||
		c.BatchBytes < c.PatchBytes || c.EntryBytes < c.BatchBytes || c.EntryBytes > storepb.MaxBatchBytes {
		return fmt.Errorf("%w: %+v: want patches of 1 to %d bytes, at least one page, a percentage, and a patch in a batch in an entry of at most %d bytes",
			pinetree.ErrBadBatch, c, pageBytes, storepb.MaxBatchBytes)
	}
	return nil
}

// Run writes a log, replays it over stores that were opened anew, and tells how
// long that took, an engine's flush at the end included.
func Run(ctx context.Context, cfg Config, open Open) (Result, error) {
	if err := cfg.Check(); err != nil {
		return Result{}, err
	}
	var last pinetree.RaftIndex
	err := with(open, func(log raftlog.Store, engines engine.Store) (err error) {
		last, err = cfg.prepare(log, engines)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	r := Result{MB: float64(cfg.Bytes) / 1e6, Pages: cfg.Pages, Hot: cfg.Hot, PatchBytes: cfg.PatchBytes}
	err = with(open, func(log raftlog.Store, engines engine.Store) error {
		began, used := time.Now(), cpu()
		if err := replay(ctx, log, engines, last); err != nil {
			return err
		}
		r.Seconds, r.CPUSeconds = time.Since(began).Seconds(), (cpu() - used).Seconds()
		r.MBPerSecond, r.MBPerCPU = r.MB/r.Seconds, r.MB/max(r.CPUSeconds, 1e-3)
		return nil
	})
	return r, err
}

// with opens the stores for fn.
func with(open Open, fn func(raftlog.Store, engine.Store) error) (err error) {
	log, engines, err := open()
	if err != nil {
		return err
	}
	err = fn(log, engines)
	for _, closed := range []error{engines.Close(), log.Close()} {
		if err == nil {
			err = closed
		}
	}
	return err
}

// cpu is what the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// prepare makes a group of one node whose log is committed to its end and whose
// engine has nothing of it but the volume.
func (c Config) prepare(log raftlog.Store, engines engine.Store) (pinetree.RaftIndex, error) {
	start, point, err := rawnode.Bootstrap([]pinetree.NodeID{theNode})
	if err != nil {
		return 0, err
	}
	start.Volumes[theVolume] = pinetree.VolumePosition{Format: pinetree.FormatRedo, Terms: []pinetree.TermStart{{Term: 1}}}
	update := raftlog.Update{Group: theGroup, Restart: &point, MustSync: true}
	index := uint64(point.Index)
	w := writer{cfg: c, random: rand.New(rand.NewPCG(1, 2)), data: make([]byte, c.PatchBytes)}
	for size := 0; w.written < c.Bytes || size > 0; {
		for size = 0; w.written < c.Bytes && size < saveBytes; {
			data, err := w.entry()
			if err != nil {
				return 0, err
			}
			index++
			update.Entries = append(update.Entries, &raftpb.Entry{Index: proto.Uint64(index), Term: proto.Uint64(uint64(point.Term)), Data: data})
			size += len(data)
		}
		update.HardState = &raftpb.HardState{Term: proto.Uint64(uint64(point.Term)), Vote: proto.Uint64(0), Commit: proto.Uint64(index)}
		if err := log.Save([]raftlog.Update{update}); err != nil {
			return 0, err
		}
		update.Restart, update.Entries = nil, nil
	}
	return pinetree.RaftIndex(index), engines.Create(theGroup, start)
}

// writer makes raft entries of patches.
type writer struct {
	cfg     Config
	random  *rand.Rand
	data    []byte
	lsn     pinetree.LSN
	written int // bytes of patches
}

func (w *writer) entry() ([]byte, error) {
	var batches []pinetree.Batch
	for size := 0; size+w.cfg.BatchBytes <= w.cfg.EntryBytes && w.written < w.cfg.Bytes; {
		var records []pinetree.Record
		for batch := 0; batch < w.cfg.BatchBytes; {
			payload, err := w.patch()
			if err != nil {
				return nil, err
			}
			next := w.lsn + pinetree.LSN(len(payload))
			records = append(records, pinetree.Record{Prev: w.lsn, LSN: next, Payload: payload})
			w.lsn, batch = next, batch+len(payload)
		}
		b, err := storepb.EncodeBatch(theVolume, 1, records)
		if err != nil {
			return nil, err
		}
		batches, size = append(batches, b), size+b.Size()
	}
	return storepb.EncodeBatches(batches), nil
}

func (w *writer) patch() ([]byte, error) {
	for i := range w.data {
		w.data[i] = byte(w.random.Uint32())
	}
	w.written += len(w.data)
	pages := w.cfg.Pages
	if w.random.IntN(100) < w.cfg.Hot {
		pages = max(1, pages/100)
	}
	return proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{
		Page: uint64(w.random.IntN(pages)), Offset: uint32(w.random.IntN(pageBytes - len(w.data) + 1)), Bytes: w.data,
	}}}}})
}

// replay runs the replica until its engine holds everything up to an index.
func replay(ctx context.Context, log raftlog.Store, engines engine.Store, last pinetree.RaftIndex) (err error) {
	h, err := host.NewHost(host.Config{
		Node: theNode, Log: log, Engines: engines, Clock: lease.BootTime, Options: host.DefaultOptions(),
		Logger: slog.New(slog.DiscardHandler), Send: func(pinetree.NodeID, []wirepb.GroupMessage) {},
	})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := h.Close(); err == nil {
			err = closeErr
		}
	}()
	g, err := h.Group(theGroup)
	if err != nil {
		return err
	}
	if err := g.Appoint(ctx, group.Appointment{ID: 1}); err != nil {
		return err
	}
	e, err := engines.Open(theGroup)
	if err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for e.Flushed().Index < last {
		if why := g.View().Stopped; why != nil {
			return why
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("at index %d of %d: %w", e.Position().Index, last, ctx.Err())
		}
	}
	return nil
}
