package bench

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pinetree-db/pinetree/adapter/pgwal"
	"github.com/pinetree-db/pinetree/adapter/pgwal/pgsample"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
)

const (
	// SampleWAL is the sample of PostgreSQL's log that the binary has in it.
	SampleWAL = "sample"
	// maxWALBytes bounds how much of a log is held in memory.
	maxWALBytes = 1 << 30
)

// walPayloads reads the records of PostgreSQL's log, as `pinetree ship` would
// ship them.
func walPayloads(path string) (ring [][]byte, err error) {
	if path == SampleWAL {
		if path, err = os.MkdirTemp("", "pinetree-wal-"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(path)) }()
		if err := pgsample.Unpack(path); err != nil {
			return nil, err
		}
	}
	w, err := pgwal.Open(pgwal.Paths(path), 0)
	if err != nil {
		return nil, fmt.Errorf("--wal: %w", err)
	}
	defer w.Close() // it was only read
	if w.Bytes() > maxWALBytes {
		return nil, cli.Usagef("--wal %s: %d MiB of log, and all of it is held in memory; give at most %d MiB", path, w.Bytes()>>20, maxWALBytes>>20)
	}
	for {
		r, err := w.Next()
		switch {
		case errors.Is(err, io.EOF) && len(ring) == 0:
			return nil, cli.Usagef("--wal %s: there is no record in it", path)
		case errors.Is(err, io.EOF):
			return ring, nil
		case err != nil:
			return nil, fmt.Errorf("--wal: %w", err)
		}
		ring = append(ring, r.Payload)
	}
}
