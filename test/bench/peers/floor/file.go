package floor

import (
	"fmt"
	"os"
	"syscall"
)

// fileBytes is the size of the file. It holds the largest batch many times.
const fileBytes = 128 << 20

// A file is the log of one server. It belongs to one goroutine.
type file struct {
	f   *os.File
	end int64 // where the next batch goes
}

// createFile returns a file whose zeros are on disk.
func createFile(name string) (*file, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < fileBytes && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros, at)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("fill the log with zeros: %w", err)
	}
	return &file{f: f}, nil
}

// save returns when b is on disk.
func (l *file) save(b []byte) error {
	if l.end+int64(len(b)) > fileBytes {
		l.end = 0
	}
	if _, err := l.f.WriteAt(b, l.end); err != nil {
		return err
	}
	l.end += int64(len(b))
	for {
		err := syscall.Fdatasync(int(l.f.Fd()))
		if err != syscall.EINTR {
			return err
		}
	}
}
