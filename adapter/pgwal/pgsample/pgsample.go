// Package pgsample is a sample of PostgreSQL's log for demonstrations and
// tests: 17 segments of 1 MiB, written by an unmodified PostgreSQL 15.18 under
// pgbench and a table of long rows. It knows nothing of the log's format.
package pgsample

import (
	"archive/tar"
	"bytes"
	_ "embed" // the archive
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// What is in the sample. It begins and ends in the middle of a record: besides
// the whole ones there are the last 209 bytes of one and the first 184 of
// another, so a log of it has two Pinetree records more.
const (
	// MD5 of the segments one after the other.
	MD5 = "f61579496154fed15ae1581af085c130"
	// Segments is their number.
	Segments = 17
	// Bytes is their size altogether.
	Bytes = Segments << 20
	// Records is the number of whole WAL records.
	Records = 52_711
)

//go:embed pgwal-1mb.tar.zst
var archive []byte

// maxFileBytes is more than any segment that is unpacked has.
const maxFileBytes = 64 << 20

// Unpack writes the segments into a folder that is there, each under its name.
func Unpack(folder string) error { return UnpackArchive(bytes.NewReader(archive), folder) }

// UnpackArchive writes the files of a tar archive compressed with zstd into a
// folder that is there. Folders in the archive are ignored.
func UnpackArchive(from io.Reader, folder string) error {
	decoder, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("unpack the WAL sample: %w", err)
	}
	defer decoder.Close()
	for files := tar.NewReader(decoder); ; {
		header, err := files.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack the WAL sample: %w", err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := write(filepath.Join(folder, filepath.Base(header.Name)), files); err != nil {
			return fmt.Errorf("unpack the WAL sample: %w", err)
		}
	}
}

func write(path string, from io.Reader) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	n, err := io.Copy(file, io.LimitReader(from, maxFileBytes))
	if err == nil && n == maxFileBytes {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFileBytes)
	}
	return errors.Join(err, file.Close())
}
