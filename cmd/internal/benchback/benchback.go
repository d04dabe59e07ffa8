// Package benchback measures how fast a volume's log is read back from the disk
// by range, beside plain reads of the very same files: each begins with nothing
// of them in memory. It writes the log itself and knows no file's format; what
// opens the engine its caller tells.
package benchback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/testbed"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const (
	theGroup  pinetree.GroupID  = 1
	theVolume pinetree.VolumeID = 1

	// payloadMemory is how much different content the log has.
	payloadMemory = 16 << 20
	// flushBytes is how much is written between two flushes.
	flushBytes = 16 << 20
	maxRounds  = 1000
)

// Config says what is written and read.
type Config struct {
	// Bytes of log, in batches of BatchBytes, of which WriteBytes are replayed
	// by one write.
	Bytes, BatchBytes, WriteBytes int
	// SliceBytes is how much a reader takes before it asks anew, as a tail that
	// catches up does.
	SliceBytes int
	// Rounds is how often each is measured.
	Rounds int
	// Dir is an engine's empty folder.
	Dir string
	// Open opens the engine in it.
	Open func(dir string) (engine.Store, error)
	// Say hears of each measurement, in a line.
	Say io.Writer
}

// Check reports settings that cannot be.
func (c Config) Check() error {
	if c.BatchBytes < 64 || c.BatchBytes > storepb.MaxBatchBytes-1024 || c.WriteBytes < c.BatchBytes || c.Bytes < c.WriteBytes || c.SliceBytes < 1 {
		return cli.Usagef("want batches of 64 bytes to 8 MiB in a --write-size in --bytes, and a --slice: there are batches of %d, writes of %d, %d bytes and slices of %d", c.BatchBytes, c.WriteBytes, c.Bytes, c.SliceBytes)
	}
	if c.Rounds < 1 || c.Rounds > maxRounds {
		return cli.Usagef("--rounds %d: want 1 to %d", c.Rounds, maxRounds)
	}
	return nil
}

// Run writes the log and then reads it in rounds, each kind in turns.
func Run(ctx context.Context, cfg Config) (result Result, err error) {
	if err := cfg.Check(); err != nil {
		return result, err
	}
	fmt.Fprintf(cfg.Say, "writing %d MiB of log\n", cfg.Bytes>>20)
	end, err := cfg.write(ctx)
	if err != nil {
		return result, err
	}
	r := &run{cfg: cfg, end: end}
	if r.store, err = cfg.Open(cfg.Dir); err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, r.store.Close()) }()
	// Now what an engine finds out when a file is first read is known.
	if err := r.readLog(ctx, r.store); err != nil {
		return result, err
	}
	for round := range cfg.Rounds {
		for turn := range kinds {
			kind := kinds[(round+turn)%len(kinds)]
			sample, err := r.measure(ctx, kind)
			if err != nil {
				return result, fmt.Errorf("%s: %w", kind, err)
			}
			fmt.Fprintf(cfg.Say, "round %d, %s: %.0f MB/s\n", round+1, kind, sample.MBPerSecond)
			result.add(kind, sample)
		}
	}
	result.finish(cfg)
	return result, nil
}

// write makes an engine with a log, and tells where the log ends.
func (c Config) write(ctx context.Context) (end pinetree.LSN, err error) {
	store, err := c.Open(c.Dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Create(theGroup, pinetree.Position{}); err != nil {
		return 0, err
	}
	e, err := store.Open(theGroup)
	if err != nil {
		return 0, err
	}
	random := rand.NewChaCha8([32]byte{1})
	content := make([]byte, max(payloadMemory, 2*c.BatchBytes))
	_, _ = random.Read(content) // never fails
	at := 0
	position := pinetree.VolumePosition{Format: pinetree.FormatOpaque, Terms: []pinetree.TermStart{{Term: 1}}}
	for index, written, unflushed := 1, 0, 0; written < c.Bytes && ctx.Err() == nil; index++ {
		w := engine.Write{Position: pinetree.Position{Index: pinetree.RaftIndex(index)}}
		for size := 0; size+c.BatchBytes <= c.WriteBytes && written < c.Bytes; size += c.BatchBytes {
			if at+c.BatchBytes > len(content) {
				at = index % 64 // no two rounds through the content are alike
			}
			payload := content[at : at+c.BatchBytes]
			at += c.BatchBytes
			next := position.LSN + pinetree.LSN(len(payload))
			b, err := storepb.EncodeBatch(theVolume, 1, []pinetree.Record{{Prev: position.LSN, LSN: next, Payload: payload}})
			if err != nil {
				return 0, err
			}
			w.Batches, position.LSN, position.LogBytes = append(w.Batches, b), next, position.LogBytes+int64(b.Size())
			written, unflushed = written+len(payload), unflushed+len(payload)
		}
		w.Position.Volumes = map[pinetree.VolumeID]pinetree.VolumePosition{theVolume: position}
		if err := e.Apply(w); err != nil {
			return 0, err
		}
		if unflushed >= flushBytes {
			if _, err := e.Flush(); err != nil {
				return 0, err
			}
			unflushed = 0
		}
	}
	if _, err := e.Flush(); err != nil {
		return 0, err
	}
	return position.LSN, ctx.Err()
}

// run is what is measured.
type run struct {
	cfg   Config
	end   pinetree.LSN
	store engine.Store // that is open all the time
}

// measure reads all of the log once, of which nothing is in memory.
func (r *run) measure(ctx context.Context, kind Kind) (s Sample, err error) {
	files, err := filesIn(r.cfg.Dir)
	if err != nil {
		return s, err
	}
	if err := uncache(files); err != nil {
		return s, err
	}
	fetched, began := fetchedBytes(), time.Now()
	used, err := testbed.OwnCPU()
	if err != nil {
		return s, err
	}
	var bytes int64
	switch kind {
	case Plain:
		bytes, err = readFiles(ctx, files)
	case Log:
		bytes, err = int64(r.end), r.readLog(ctx, r.store)
	case Opened:
		bytes, err = int64(r.end), r.openAndRead(ctx)
	}
	if err != nil {
		return s, err
	}
	seconds := time.Since(began).Seconds()
	after, err := testbed.OwnCPU()
	if err != nil {
		return s, err
	}
	s = Sample{MB: float64(bytes) / 1e6, Seconds: seconds, CPUSeconds: (after - used).Seconds()}
	s.MBPerSecond = s.MB / seconds
	if fetched < 0 {
		return s, nil
	}
	if s.FetchedMB = float64(fetchedBytes()-fetched) / 1e6; s.FetchedMB < s.MB/2 {
		return s, cli.Usagef("of %.0f MB the disk was asked for %.0f, the rest was in memory; have the files on a disk with --dir", s.MB, s.FetchedMB)
	}
	return s, nil
}

// openAndRead reads the log as after a restart. The lock of a directory is one
// process's: the store that is open makes way.
func (r *run) openAndRead(ctx context.Context) (err error) {
	if err := r.store.Close(); err != nil {
		return err
	}
	if r.store, err = r.cfg.Open(r.cfg.Dir); err != nil {
		return err
	}
	return r.readLog(ctx, r.store)
}

// errFull ends the reading of a slice.
var errFull = errors.New("the slice is full")

// readLog reads the log from its beginning to its end in slices, and checks that
// it is whole.
func (r *run) readLog(ctx context.Context, store engine.Store) error {
	e, err := store.Open(theGroup)
	if err != nil {
		return err
	}
	v, err := e.Volume(theVolume)
	if err != nil {
		return err
	}
	for at := pinetree.LSN(0); at < r.end; {
		size := 0
		err := v.Log(at, func(b pinetree.Batch) error {
			if size >= r.cfg.SliceBytes {
				return errFull
			}
			if b.Prev != at {
				return fmt.Errorf("%w: batch (%s, %s] after %s", pinetree.ErrCorrupt, b.Prev, b.LSN, at)
			}
			size, at = size+b.Size(), b.LSN
			return nil
		})
		if err != nil && !errors.Is(err, errFull) {
			return err
		}
		if size == 0 {
			return fmt.Errorf("%w: nothing follows on %s, the log ends at %s", pinetree.ErrCorrupt, at, r.end)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
