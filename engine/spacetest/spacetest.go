// Package spacetest checks that an engine gives the space of truncated volumes back:
// with no further write, and beside writes that never rest. It knows the contract of
// an engine and nothing of a backend but how to open it, and what its files take on
// the disk.
package spacetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/enginetest"
	"github.com/pinetree-db/pinetree/engine/redotest"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// What Run wants: that no more than so many hundredths of the directory's bytes
// are left, and how soon.
const (
	leftPercent = 35
	giveBackIn  = 60 * time.Second
	// fewUnits is how many units of the backend's a little is.
	fewUnits, leftOfFewPercent = 4, 40
)

// What RunBesideWrites does: so many bytes a second, and so many times of what is
// kept. It wants the directory to take no more than so many times what is kept, and
// so much more: databases wait until there is enough to give back at once.
const (
	writeRate   = 20 << 20
	writeTimes  = 8
	mostTimes   = 5
	mostMore    = 1 << 30
	hotPages    = 20_000
	imagesEvery = 512 << 20 // bytes after which a page's next change is its image
)

// megabytes is what the environment asks for, and false when it does not.
func megabytes() (int64, bool) {
	mb, err := strconv.ParseInt(os.Getenv("PINETREE_SPACE_MB"), 10, 64)
	return mb << 20, err == nil
}

// feed writes one volume of a group, with its log as it comes.
type feed struct {
	t        *testing.T
	dir      string
	engine   engine.Engine
	random   *rand.Rand
	position pinetree.Position
}

// open makes the group and the volume. The store is closed when the test ends.
func open(t *testing.T, b enginetest.Backend) *feed {
	t.Helper()
	dir := t.TempDir()
	s, err := b.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	format := pinetree.FormatRedo
	if b.OpaqueOnly {
		format = pinetree.FormatOpaque
	}
	if err := s.Create(1, pinetree.Position{}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	volume := pinetree.VolumePosition{Format: format, Terms: []pinetree.TermStart{{Term: 1}}}
	return &feed{
		t: t, dir: dir, engine: e, random: rand.New(rand.NewPCG(6, 6)),
		position: pinetree.Position{Term: 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: volume}},
	}
}

// noise is bytes that do not compress.
func (f *feed) noise(size int) []byte {
	data := make([]byte, 0, size+8)
	for len(data) < size {
		data = binary.LittleEndian.AppendUint64(data, f.random.Uint64())
	}
	return data[:size]
}

// write applies one batch, whose LSNs count payloads, and tells how many bytes it has.
func (f *feed) write(payloads ...[]byte) int64 {
	f.t.Helper()
	v := f.position.Volumes[1]
	var records []pinetree.Record
	for _, payload := range payloads {
		records = append(records, pinetree.Record{Prev: v.LSN, LSN: v.LSN + 1, Payload: payload})
		v.LSN++
	}
	b, err := storepb.EncodeBatch(1, 1, records)
	if err != nil {
		f.t.Fatal(err)
	}
	f.position.Volumes[1] = v
	f.apply(b)
	return int64(b.Size())
}

func (f *feed) apply(batches ...pinetree.Batch) {
	f.t.Helper()
	f.position.Index++
	if err := f.engine.Apply(engine.Write{Position: f.position.Clone(), Batches: batches}); err != nil {
		f.t.Fatal(err)
	}
}

// truncate is durable with the next flush.
func (f *feed) truncate(lsn pinetree.LSN) {
	v := f.position.Volumes[1]
	v.Truncated = max(v.Truncated, lsn)
	f.position.Volumes[1] = v
}

func (f *feed) flush() {
	f.t.Helper()
	if _, err := f.engine.Flush(); err != nil {
		f.t.Fatal(err)
	}
}

// check reads everything that is left.
func (f *feed) check() {
	f.t.Helper()
	r, err := f.engine.Volume(1)
	if err == nil {
		_, err = engine.Digest(r, 0)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// Run fills a volume with as many megabytes as the environment variable
// PINETREE_SPACE_MB says, truncates nine tenths of it, and wants the directory's bytes
// back without a further write. Without the variable it fills a little, and only looks
// when the backend gives space back in units of that size.
func Run(t *testing.T, b enginetest.Backend, unit int64) {
	size, percent := fewUnits*unit, int64(leftOfFewPercent)
	if set, is := megabytes(); is {
		size, percent = set, leftPercent
	} else if size > 16<<20 {
		t.Skipf("set PINETREE_SPACE_MB, for it gives back %d bytes at a time", unit)
	}
	f := open(t, b)
	began, shipped := time.Now(), int64(0)
	for shipped < size {
		var payloads [][]byte
		for range 64 {
			if b.OpaqueOnly {
				payloads = append(payloads, f.noise(512))
				continue
			}
			at := redotest.Place{Page: f.random.Uint64N(2000), Offset: uint32(f.random.IntN(7 << 10))}
			payloads = append(payloads, redotest.Payload(
				redotest.Patch(at, string(f.noise(256))),
				redotest.Put(fmt.Sprint(f.random.IntN(5000)), string(f.noise(256))),
			))
		}
		shipped += f.write(payloads...)
		if f.position.Index%256 == 0 {
			f.flush()
		}
	}
	f.flush()
	took, full := time.Since(began), f.bytes()
	f.truncate(f.position.Volumes[1].LSN / 10 * 9)
	f.apply()
	f.flush()
	began = time.Now()
	left := full
	for ; left > full*percent/100; left = f.bytes() {
		if time.Since(began) > giveBackIn {
			t.Fatalf("%d MB shipped in %s took %d MB, and with a tenth of them kept %d MB", shipped>>20, took, full>>20, left>>20)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d MB shipped in %s took %d MB, and with a tenth of them kept %d MB after %s", shipped>>20, took.Round(time.Millisecond), full>>20, left>>20, time.Since(began).Round(time.Millisecond))
	f.check()
}

// RunBesideWrites writes redo as PostgreSQL does without a rest, and keeps of it as
// many megabytes as the environment variable PINETREE_SPACE_MB says: the directory may
// not go on growing when that much was written.
func RunBesideWrites(t *testing.T, b enginetest.Backend) {
	kept, is := megabytes()
	if !is {
		t.Skip("set PINETREE_SPACE_MB, for it takes a minute or two")
	}
	f := open(t, b)
	hot := rand.NewZipf(f.random, 1.1, 20, hotPages-1)
	images := map[uint64]int64{}
	var ends []int64 // of the log in bytes, by LSN - 1
	began, shipped, most, sampled := time.Now(), int64(0), int64(0), int64(0)
	for shipped < writeTimes*kept {
		var payloads [][]byte
		for range 64 {
			page := hot.Uint64()
			change := redotest.Patch(redotest.Place{Page: page, Offset: uint32(f.random.IntN(7 << 10))}, string(f.noise(100)))
			if at, is := images[page]; !is || shipped-at > imagesEvery {
				images[page], change = shipped, redotest.Image(page, string(f.noise(8<<10)))
			}
			payloads = append(payloads, redotest.Payload(change))
		}
		truncated := f.position.Volumes[1].Truncated
		for truncated < pinetree.LSN(len(ends)) && ends[truncated] < shipped-kept {
			truncated++
		}
		f.truncate(truncated)
		shipped += f.write(payloads...)
		for range payloads {
			ends = append(ends, shipped)
		}
		if f.position.Index%64 == 0 {
			f.flush()
		}
		time.Sleep(time.Until(began.Add(time.Duration(shipped * int64(time.Second) / writeRate))))
		if shipped >= 2*kept && shipped-sampled >= kept/2 {
			sampled = shipped
			now := f.bytes()
			most = max(most, now)
			t.Logf("%d MB shipped in %s take %d MB", shipped>>20, time.Since(began).Round(time.Millisecond), now>>20)
		}
	}
	if most > mostTimes*kept+mostMore {
		t.Errorf("up to %d MB are taken where %d MB are kept", most>>20, kept>>20)
	}
	f.flush()
	f.check()
}

// bytes is what the files of the directory take on the disk.
func (f *feed) bytes() (total int64) {
	f.t.Helper()
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n, err := bytesOnDisk(path)
		total += n
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.t.Fatal(err)
	}
	return total
}

func bytesOnDisk(path string) (int64, error) {
	var info unix.Stat_t
	err := unix.Stat(path, &info)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // removed while we look
	}
	return info.Blocks * 512, err // a file may be larger than what is in it
}
