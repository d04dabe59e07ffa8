package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pinetree-db/pinetree/disk"
	"github.com/pinetree-db/pinetree/disk/faultfs"
)

// watched is a directory that looks at what is written around the page cache.
type watched struct {
	disk.FS
	blocks *atomic.Int64 // bytes
	fail   *atomic.Bool
}

type watchedFile struct {
	disk.File
	watched
}

type watchedDirect struct {
	disk.DirectFile
	watched
}

func (w watched) Create(name string) (disk.File, error) { return w.watch(w.FS.Create(name)) }

func (w watched) Open(name string) (disk.File, error) { return w.watch(w.FS.Open(name)) }

func (w watched) watch(f disk.File, err error) (disk.File, error) { return watchedFile{f, w}, err }

func (f watchedFile) OpenDirect() (disk.DirectFile, error) {
	d, err := f.File.(disk.Direct).OpenDirect()
	return watchedDirect{d, f.watched}, err
}

var errBroken = errors.New("the disk is broken")

func (d watchedDirect) WriteBlocks(b []byte, offset int64) error {
	if d.fail.Load() {
		return errBroken
	}
	if len(b)%4096 != 0 || offset%4096 != 0 {
		return fmt.Errorf("%d bytes at offset %d are no blocks", len(b), offset)
	}
	d.blocks.Add(int64(len(b)))
	return d.DirectFile.WriteBlocks(b, offset)
}

func openWatched(t *testing.T) watched {
	t.Helper()
	fs, err := disk.OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return watched{FS: fs, blocks: new(atomic.Int64), fail: new(atomic.Bool)}
}

// modelled is a file and what is in it.
type modelled struct {
	disk.File
	name    string
	want    []byte
	durable int // so much of want
}

// step does something by chance and compares what can be read.
func (m *modelled) step(random *rand.Rand, fs disk.FS) (err error) {
	size := len(m.want)
	switch random.IntN(12) {
	case 0:
		err = m.Sync()
		m.durable = size
	case 1:
		m.File.(disk.Cached).WriteBack(disk.Span{From: int64(m.durable), To: int64(size)})
	case 2: // as it is when an error of a sync is to be mended
		at := random.IntN(size + 1)
		err = m.WriteParts([][]byte{m.want[at:]}, int64(at))
	case 3:
		if err = m.Close(); err == nil {
			m.File, err = fs.Open(m.name)
		}
	default:
		parts := make([][]byte, 1+random.IntN(3))
		for i := range parts {
			parts[i] = make([]byte, random.IntN(1<<random.IntN(20)))
			for j := range parts[i] {
				parts[i][j] = byte(random.Uint32())
			}
			m.want = append(m.want, parts[i]...)
		}
		err = m.WriteParts(parts, int64(size))
	}
	if err != nil {
		return err
	}
	if got, err := m.Size(); err != nil || got != int64(len(m.want)) {
		return fmt.Errorf("size %d, %v, want %d", got, err, len(m.want))
	}
	from := random.IntN(len(m.want) + 10_000)
	if random.IntN(2) == 0 { // where what is in memory begins and ends
		from = max(0, len(m.want)-random.IntN(600<<10))
	}
	return compare(m.File, m.want, from, random.IntN(600<<10))
}

// compare reads a part of a file and compares it with what is wanted there.
func compare(f io.ReaderAt, want []byte, from, length int) error {
	got := make([]byte, length)
	n, err := f.ReadAt(got, int64(from))
	part := want[min(from, len(want)):min(from+length, len(want))]
	if !bytes.Equal(got[:n], part) || err == nil && n < length || err != nil && (!errors.Is(err, io.EOF) || n == length) {
		return fmt.Errorf("%d bytes from offset %d of %d: %d bytes, %v, want %d, equal: %v", length, from, len(want), n, err, len(part), bytes.Equal(got[:n], part))
	}
	return nil
}

// TestGatheredFilesReadAsTheyWereWritten lets some files, of which not all can be
// gathered, go through changes by chance.
func TestGatheredFilesReadAsTheyWereWritten(t *testing.T) {
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		under := openWatched(t)
		fs := disk.Gather(under, 2)
		var files []*modelled
		for i := range 3 {
			name := fmt.Sprint("file", i)
			f, err := fs.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, &modelled{File: f, name: name})
		}
		for range 120 {
			m := files[random.IntN(len(files))]
			if err := m.step(random, fs); err != nil {
				t.Fatalf("seed %d: %s: %v", seed, m.name, err)
			}
		}
		for _, m := range files {
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			plain, err := under.FS.Open(m.name)
			if err != nil {
				t.Fatal(err)
			}
			if err := compare(plain, m.want, 0, len(m.want)); err != nil {
				t.Errorf("seed %d: %s without gathering: %v", seed, m.name, err)
			}
			plain.Close()
		}
		if under.blocks.Load() == 0 {
			t.Errorf("seed %d: nothing was written around the page cache", seed)
		}
	}
}

// TestWhatWasSyncedOutlivesAPowerCut: and nothing but what was written is there.
func TestWhatWasSyncedOutlivesAPowerCut(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 2))
		d := faultfs.New()
		under, err := d.Open()
		if err != nil {
			t.Fatal(err)
		}
		fs := disk.Gather(under, 1)
		f, err := fs.Create("file")
		if err != nil {
			t.Fatal(err)
		}
		m := &modelled{File: f, name: "file"}
		if err := fs.SyncDir(); err != nil {
			t.Fatal(err)
		}
		for range 1 + random.IntN(20) {
			if err := m.step(random, fs); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		d.Crash(faultfs.Crash{PowerCut: true, Seed: seed})
		got := d.Files()["file"]
		if len(got) < m.durable || len(got) > len(m.want) || !bytes.Equal(got[:m.durable], m.want[:m.durable]) {
			t.Errorf("seed %d: %d bytes are left, %d were synced and %d written", seed, len(got), m.durable, len(m.want))
		}
	}
}

// TestAnErrorOfGatheredBytesIsTheFilesLast: it comes when they are written, and
// nothing says afterwards that they are durable.
func TestAnErrorOfGatheredBytesIsTheFilesLast(t *testing.T) {
	under := openWatched(t)
	fs := disk.Gather(under, 1)
	f, err := fs.Create("file")
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Repeat([]byte{7}, 100_000)
	if err := f.WriteParts([][]byte{b}, 0); err != nil {
		t.Fatal(err)
	}
	under.fail.Store(true)
	f.(disk.Cached).WriteBack(disk.Span{To: 100_000})
	under.fail.Store(false)
	if err := f.WriteParts([][]byte{b}, 100_000); !errors.Is(err, errBroken) {
		t.Errorf("WriteParts after a failure: %v", err)
	}
	if err := f.Sync(); !errors.Is(err, errBroken) {
		t.Errorf("Sync after a failure: %v", err)
	}
	if err := compare(f, b, 0, 100_000); err != nil {
		t.Errorf("what was there is not: %v", err)
	}
	if err := f.Close(); !errors.Is(err, errBroken) {
		t.Errorf("Close after a failure: %v", err)
	}
	// Its memory is there for others.
	other, err := fs.Create("other")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.WriteParts([][]byte{b}, 0); err != nil {
		t.Fatal(err)
	}
	if plain, err := under.FS.Open("other"); err != nil {
		t.Fatal(err)
	} else if size, err := plain.Size(); size != 0 || err != nil {
		t.Errorf("%d bytes, %v, were written and not gathered", size, err)
	}
}

// TestReadersOfAGatheredFileSeeWhatIsThere, while it grows and is synced.
func TestReadersOfAGatheredFileSeeWhatIsThere(t *testing.T) {
	fs := disk.Gather(openWatched(t), 1)
	f, err := fs.Create("file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := make([]byte, 4<<20)
	for i := range want {
		want[i] = byte(i / 977)
	}
	var written atomic.Int64
	var readers sync.WaitGroup
	defer readers.Wait()
	for seed := range uint64(3) {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(seed, 3))
			for written.Load() < int64(len(want)) {
				end := int(written.Load())
				from := max(0, end-random.IntN(600<<10))
				if err := compare(f, want[:end], from, end-from); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(4, 3))
	for at := 0; at < len(want); {
		n := min(random.IntN(50_000), len(want)-at)
		if err := f.WriteParts([][]byte{want[at : at+n]}, int64(at)); err != nil {
			t.Error(err)
			break
		}
		at += n
		written.Store(int64(at))
		if random.IntN(20) == 0 {
			if err := f.Sync(); err != nil {
				t.Error(err)
			}
		}
	}
	written.Store(int64(len(want)))
}
