package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Values is how many values there are to be read, of which random ones are.
const Values = 4096

// numberBytes at the beginning of a value are its number, by which an answer is
// known to be the one that was asked for.
const numberBytes = 8

// fillTimeout bounds the writing of the values.
const fillTimeout = 2 * time.Minute

// A Reader writes values to one system and reads them back. Read may be called
// concurrently.
type Reader interface {
	// Fill writes values under their numbers, from 0 on, and returns when all of
	// them are committed.
	Fill(ctx context.Context, values [][]byte) error
	// Read returns the value of a number as of now: every write that was
	// acknowledged before it began is seen.
	Read(ctx context.Context, number int) ([]byte, error)
	// Close ends the reader and everything that it started.
	Close() error
}

// RunReads fills the system that dial reaches, and measures reads of single values
// in a closed loop after the warm-up. Every answer is checked. When it returns the
// reader is closed.
func RunReads(ctx context.Context, cfg Config, dial func() (Reader, error)) (result Result, err error) {
	if cfg.Inflight <= 0 || cfg.RecordSize < numberBytes {
		return result, fmt.Errorf("%d reads in flight of %d bytes: want at least one, of %d bytes or more", cfg.Inflight, cfg.RecordSize, numberBytes)
	}
	reader, err := dial()
	if err != nil {
		return result, fmt.Errorf("reach the system: %w", err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	filling, cancel := context.WithTimeout(ctx, fillTimeout)
	defer cancel()
	if err := reader.Fill(filling, values(cfg.RecordSize)); err != nil {
		return result, fmt.Errorf("write what is to be read: %w", err)
	}
	reading, cancel := context.WithTimeout(ctx, cfg.Warmup+cfg.Duration+drainTimeout)
	defer cancel()
	m := newMeter(cfg)
	var workers sync.WaitGroup
	for i := range cfg.Inflight {
		workers.Go(func() { m.reads(reading, reader, rand.New(rand.NewPCG(uint64(i), rand.Uint64()))) })
	}
	err = m.measure(ctx)
	m.stopWriting()
	if err != nil {
		cancel()
	}
	workers.Wait()
	select {
	case <-m.failed: // also between the end of the measured time and that of the last read
		return result, m.failure
	default:
	}
	if err != nil {
		return result, err
	}
	result = m.result()
	result.Acked = Values
	return result, nil
}

// values are random but for their numbers, so that no system gains by compressing
// them.
func values(size int) [][]byte {
	all := make([][]byte, Values)
	random := rand.NewChaCha8([32]byte{1})
	for i := range all {
		all[i] = make([]byte, size)
		_, _ = random.Read(all[i]) // never fails
		binary.BigEndian.PutUint64(all[i], uint64(i))
	}
	return all
}

// reads is one worker: it reads one value after the other.
func (m *meter) reads(ctx context.Context, reader Reader, random *rand.Rand) {
	for m.maySubmit(1) {
		number, began := random.IntN(Values), time.Now()
		value, err := reader.Read(ctx, number)
		if err == nil && (len(value) != m.cfg.RecordSize || binary.BigEndian.Uint64(value) != uint64(number)) {
			err = fmt.Errorf("value %d was answered with %d bytes, %d were written, or with another value", number, len(value), m.cfg.RecordSize)
		}
		if err != nil {
			m.Failed(err)
			return
		}
		m.read(time.Since(began))
	}
}

// read counts a read.
func (m *meter) read(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acked++
	if m.measuring {
		m.latencies.Add(took)
	}
}
