package demo

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/pgwal"
	"github.com/pinetree-db/pinetree/adapter/pgwal/pgsample"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

// readTimeout bounds the reading of one replica, catching up included.
const readTimeout = 20 * time.Second

// replica is what one replica gave back.
type replica struct {
	Node    pinetree.NodeID `json:"node"`
	Records int             `json:"records"` // whole WAL records
	Bytes   int64           `json:"bytes"`
	MD5     string          `json:"md5"`
}

// readBack reads the whole log from one node, once it has replayed all of it,
// writes it as segment files, and walks them again: so every WAL record's own
// checksum is looked at, too.
func (d *demo) readBack(ctx context.Context, node pinetree.NodeID) (replica, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	read := replica{Node: node}
	dir := filepath.Join(d.dir, "readback", fmt.Sprintf("node-%d", node))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return read, err
	}
	reader := d.client.Reader(ship.ReadConfig{Level: pinetree.ReadStale, MinLSN: d.end, Node: node})
	sum := md5.New()
	files := &segments{dir: dir, names: d.names}
	end, err := reader.Tail(ctx, ship.TailQuery{}, func(r pinetree.Record) error {
		read.Bytes += int64(len(r.Payload))
		_, err := io.MultiWriter(sum, files).Write(r.Payload)
		return err
	})
	if err := errors.Join(err, files.close()); err != nil {
		return read, fmt.Errorf("read node %d: %w", node, err)
	}
	if end != d.end {
		return read, fmt.Errorf("node %d gives back the log up to %s, it was acknowledged up to %s", node, end, d.end)
	}
	read.MD5 = hex.EncodeToString(sum.Sum(nil))
	counts, err := walk(dir)
	read.Records = counts.Records
	return read, err
}

// walk reads segment files and counts their records.
func walk(dir string) (counts pgwal.Counts, err error) {
	w, err := pgwal.Open(pgwal.Paths(dir), 0)
	if err != nil {
		return counts, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for {
		if _, err := w.Next(); errors.Is(err, io.EOF) {
			return w.Counts(), nil
		} else if err != nil {
			return w.Counts(), err
		}
	}
}

// segments writes a log as the files of the sample.
type segments struct {
	dir   string
	names []string // along the log
	file  *os.File // the first of names that is not full
	size  int      // of file
}

const segmentBytes = pgsample.Bytes / pgsample.Segments

// Write implements io.Writer.
func (s *segments) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		if s.file == nil {
			if len(s.names) == 0 {
				return written, errors.New("the log that was read back is longer than the source")
			}
			var err error
			if s.file, err = os.Create(filepath.Join(s.dir, s.names[0])); err != nil {
				return written, err
			}
			s.names, s.size = s.names[1:], 0
		}
		n, err := s.file.Write(p[written:min(len(p), written+segmentBytes-s.size)])
		written, s.size = written+n, s.size+n
		if err != nil {
			return written, err
		}
		if s.size == segmentBytes {
			if err := s.close(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

func (s *segments) close() error {
	if s.file == nil {
		return nil
	}
	file := s.file
	s.file = nil
	return file.Close()
}
