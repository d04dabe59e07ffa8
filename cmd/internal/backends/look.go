package backends

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/badgerengine"
	"github.com/pinetree-db/pinetree/engine/pebbleengine"
	"github.com/pinetree-db/pinetree/engine/walengine"
)

// Look opens an engine's files, of any engine, to be read and not changed; a node
// that uses them is an error. Badger reads what a crash has left only by changing its
// files: then a copy in the scratch directory is opened, which Close removes.
func Look(dir, scratch string, log *slog.Logger) (engine.Store, error) {
	switch name := EngineIn(dir); name {
	case "badger":
		return lookIntoBadger(dir, scratch, log)
	case "pebble":
		return pebbleengine.Open(pebbleengine.Options{Dir: dir, Logger: log, ReadOnly: true})
	case "wal":
		return walengine.Open(dir, walengine.Options{Logger: log, ReadOnly: true})
	default:
		return nil, fmt.Errorf("%s: no engine's files are there", dir)
	}
}

func lookIntoBadger(dir, scratch string, log *slog.Logger) (engine.Store, error) {
	store, err := badgerengine.Open(badgerengine.Options{Dir: dir, Logger: log, ReadOnly: true})
	if err == nil {
		return store, nil
	}
	if !errors.Is(err, badgerengine.ErrNotWhole) {
		return nil, err
	}
	copied, err := os.MkdirTemp(scratch, "pinetree-copy-")
	if err != nil {
		return nil, fmt.Errorf("a crash has left %s, so that a copy of it is to be read: %w", dir, err)
	}
	c := copyOf{path: copied}
	if err = c.take(dir); err == nil {
		c.Store, err = badgerengine.Open(badgerengine.Options{Dir: copied, Logger: log})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("a crash has left %s, so that a copy of it is to be read, in %s: %w", dir, filepath.Dir(copied), err), os.RemoveAll(copied))
	}
	return c, nil
}

// copyOf is an engine in a directory that goes when it is closed.
type copyOf struct {
	engine.Store
	path string
}

// Close closes the engine and removes its directory.
func (c copyOf) Close() error { return errors.Join(c.Store.Close(), os.RemoveAll(c.path)) }

// take copies a directory of badger's that nobody writes to meanwhile.
func (c copyOf) take(dir string) error {
	lock, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	// Badger's own lock is on the directory.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%s is in use by another process: %w", dir, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !f.Type().IsRegular() {
			continue
		}
		if err := copySparse(filepath.Join(c.path, f.Name()), filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// copySparse copies a file but for what in it is zero, which is most of those that
// badger makes at their full length.
func copySparse(to, from string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	var size int64
	for buf, zero := make([]byte, 64<<10), string(make([]byte, 64<<10)); ; {
		n, err := io.ReadFull(source, buf)
		if n > 0 && string(buf[:n]) != zero[:n] {
			if _, err := target.WriteAt(buf[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return target.Truncate(size)
		default:
			return err
		}
	}
}
