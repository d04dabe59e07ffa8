package segment

import (
	"sync/atomic"

	"github.com/pinetree-db/pinetree/raftlog"
)

// meter is an FS that counts what is written to it.
type meter struct {
	FS
	bytes, syncs atomic.Uint64
}

// Written is what the store has written since it was opened, the recovery
// included, by its files' account: what it did ahead and beside Save counts.
func (s *Store) Written() raftlog.Written {
	return raftlog.Written{Bytes: s.meter.bytes.Load(), Syncs: s.meter.syncs.Load()}
}

// Create makes a file that counts.
func (m *meter) Create(name string) (File, error) { return m.metered(m.FS.Create(name)) }

// Open opens a file that counts.
func (m *meter) Open(name string) (File, error) { return m.metered(m.FS.Open(name)) }

func (m *meter) metered(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return meteredFile{f, m}, nil
}

// SyncDir counts.
func (m *meter) SyncDir() error {
	m.syncs.Add(1)
	return m.FS.SyncDir()
}

type meteredFile struct {
	File
	meter *meter
}

// WriteParts counts.
func (f meteredFile) WriteParts(parts [][]byte, offset int64) error {
	bytes := 0
	for _, p := range parts {
		bytes += len(p)
	}
	f.meter.bytes.Add(uint64(bytes))
	return f.File.WriteParts(parts, offset)
}

// Sync counts.
func (f meteredFile) Sync() error {
	f.meter.syncs.Add(1)
	return f.File.Sync()
}
