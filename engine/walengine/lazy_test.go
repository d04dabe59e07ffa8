package walengine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/disk"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// counted is a directory that counts the bytes that are read.
type counted struct {
	disk.FS
	read *atomic.Int64
}

type countedFile struct {
	disk.File
	read *atomic.Int64
}

func (c counted) Open(name string) (disk.File, error) {
	f, err := c.FS.Open(name)
	return countedFile{f, c.read}, err
}

func (f countedFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	f.read.Add(int64(n))
	return n, err
}

const (
	lazyWrites, lazyBatch = 100, 20_000
	lazyFileBytes         = 2 << 20
)

// reopened writes a log of two volumes into some files and opens it anew. Volume 1
// is in all of them, volume 2 in the first ones only. It returns where the
// batches of volume 1 end.
func reopened(t *testing.T, read *atomic.Int64) (engine.Engine, []pinetree.LSN) {
	t.Helper()
	dir := t.TempDir()
	s, e := openNew(t, dir, walengine.Options{FileBytes: lazyFileBytes})
	c := newChain(t, lazyBatch)
	c.position.Volumes[2] = c.position.Volumes[1]
	var ends []pinetree.LSN
	for i := range lazyWrites {
		w := c.next()
		for len(w.Batches) < 3 { // in one frame
			ends = append(ends, c.position.Volumes[1].LSN)
			next := c.next()
			w.Position, w.Batches = next.Position, append(w.Batches, next.Batches...)
		}
		if i < lazyWrites/4 {
			v := c.position.Volumes[2]
			b, err := storepb.EncodeBatch(2, 1, []pinetree.Record{{Prev: v.LSN, LSN: v.LSN + 7, Payload: c.payload[:7]}})
			if err != nil {
				t.Fatal(err)
			}
			v.LSN = b.LSN
			c.position.Volumes[2] = v
			w.Batches = append(w.Batches, b)
		}
		if err := e.Apply(w); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, c.position.Volumes[1].LSN)
		if i%20 == 19 {
			if _, err := e.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fs, err := disk.OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := walengine.OpenFS(counted{fs, read}, walengine.Options{FileBytes: lazyFileBytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
	if e, err = again.Open(1); err != nil {
		t.Fatal(err)
	}
	return e, ends
}

var errEnough = errors.New("enough")

// some reads so many batches after an LSN, which must be those that end there.
func some(v engine.Reader, after pinetree.LSN, want []pinetree.LSN) error {
	at, n := after, 0
	err := v.Log(after, func(b pinetree.Batch) error {
		if n == len(want) {
			return errEnough
		}
		if b.Prev != at || b.LSN != want[n] {
			return fmt.Errorf("batch (%s, %s] after %s, want one up to %s", b.Prev, b.LSN, at, want[n])
		}
		at, n = b.LSN, n+1
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err == nil && n < len(want) {
		err = fmt.Errorf("%d batches after %s, want %d", n, after, len(want))
	}
	return err
}

// TestFirstReadingOfAFileReadsItOnce: a log that is opened anew has no index of its
// files, and finds its way as it reads.
func TestFirstReadingOfAFileReadsItOnce(t *testing.T) {
	var read atomic.Int64
	e, ends := reopened(t, &read)
	v, err := e.Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	read.Store(0)
	if err := some(v, 0, ends[:1]); err != nil {
		t.Fatal(err)
	}
	if n := read.Load(); n > 1<<20 {
		t.Errorf("the first batch of a file of 2 MiB took %d bytes", n)
	}
	read.Store(0)
	after, total := pinetree.LSN(0), int64(0)
	for i := 0; i < len(ends); i += 50 { // a megabyte each
		if err := some(v, after, ends[i:i+50]); err != nil {
			t.Fatal(err)
		}
		after, total = ends[i+49], total+50*lazyBatch
	}
	// What is read beyond a slice, a window of 256 KiB, is read again by the next.
	if n := read.Load(); n > total*3/2 {
		t.Errorf("%d bytes of log took %d bytes of files", total, n)
	}
	// And now every place is known.
	for range 50 {
		i := rand.IntN(len(ends) - 1)
		read.Store(0)
		if err := some(v, ends[i], ends[i+1:i+2]); err != nil {
			t.Fatal(err)
		}
		if n := read.Load(); n > 1<<20 {
			t.Fatalf("batch %d took %d bytes", i+1, n)
		}
	}
}

// TestAFrameThatWasReadInPartIsNotKnown: who stops in a frame has not seen what
// else is in it.
func TestAFrameThatWasReadInPartIsNotKnown(t *testing.T) {
	e, ends := reopened(t, new(atomic.Int64))
	v, err := e.Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	after := pinetree.LSN(0)
	for i := range ends {
		if err := some(v, after, ends[i:i+1]); err != nil {
			t.Fatal(err)
		}
		after = ends[i]
	}
}

// TestReadersThatFindTheirWayTogether begin anywhere in a log that was opened anew,
// all at once.
func TestReadersThatFindTheirWayTogether(t *testing.T) {
	e, ends := reopened(t, new(atomic.Int64))
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			v, err := e.Volume(1)
			if err != nil {
				t.Error(err)
				return
			}
			for range 60 {
				i := rand.IntN(len(ends) - 1)
				n := 1 + rand.IntN(min(40, len(ends)-1-i))
				if err := some(v, ends[i], ends[i+1:i+1+n]); err != nil {
					t.Errorf("from batch %d on: %v", i+1, err)
					return
				}
			}
			var small []pinetree.LSN
			for i := range lazyWrites / 4 {
				small = append(small, pinetree.LSN(i+1)*7)
			}
			if v, err = e.Volume(2); err == nil {
				i := rand.IntN(len(small))
				err = some(v, pinetree.LSN(i)*7, small[i:])
			}
			if err != nil {
				t.Errorf("volume 2: %v", err)
			}
		})
	}
	readers.Wait()
}
