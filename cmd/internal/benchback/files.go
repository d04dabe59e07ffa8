package benchback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// plainBytes is how much one plain read asks for.
const plainBytes = 1 << 20

// filesIn lists the files of a folder that have something in them, in the order
// of their names.
func filesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if e.Type().IsRegular() && info.Size() > 0 {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(found)
	return found, nil
}

// each opens each file for fn.
func each(files []string, fn func(*os.File) error) error {
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(fn(file), file.Close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// uncache lets go of what is in memory of the files. Only what is on the disk
// goes.
func uncache(files []string) error {
	return each(files, func(f *os.File) error {
		if err := f.Sync(); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// readFiles reads the files one after the other, from front to back, and tells
// how many bytes that were.
func readFiles(ctx context.Context, files []string) (total int64, err error) {
	buf := make([]byte, plainBytes)
	err = each(files, func(f *os.File) error {
		for {
			n, err := f.Read(buf)
			total += int64(n)
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			}
		}
	})
	return total, err
}

// fetchedBytes is how much this process has had fetched from disks, −1 where the
// system does not tell.
func fetchedBytes() int64 {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return -1
	}
	for line := range bytes.Lines(text) {
		if rest, found := bytes.CutPrefix(line, []byte("read_bytes: ")); found {
			if n, err := strconv.ParseInt(string(bytes.TrimSpace(rest)), 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}
