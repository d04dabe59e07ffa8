package slow

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree/disk"
	"github.com/pinetree-db/pinetree/disk/faultfs"
)

// healthySync is what a sync takes on a disk that is well.
const healthySync = time.Millisecond

// brake slows a disk down.
type brake struct {
	mu   sync.Mutex
	sync time.Duration
	// rate is how many bytes a second a sync makes durable, unsynced how many it
	// has to; zero is no limit.
	rate, unsynced int
	held           map[string]chan struct{} // by a part of a file's name: its writes wait for it to be closed
}

// slowDisk is a disk in memory with a brake.
func slowDisk(t testing.TB) (disk.FS, *brake) {
	t.Helper()
	fs, err := faultfs.New().Open()
	if err != nil {
		t.Fatal(err)
	}
	b := &brake{sync: healthySync, held: map[string]chan struct{}{}}
	return brakedFS{fs, b}, b
}

// slowSyncs lets every sync take that long, until the returned function is
// called.
func (b *brake) slowSyncs(d time.Duration) (release func()) {
	set := func(d time.Duration) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.sync = d
	}
	set(d)
	return func() { set(healthySync) }
}

// stopWrites lets no write to files with such a name end, until the returned
// function is called.
func (b *brake) stopWrites(name string) (release func()) {
	held := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held[name] = held
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.held, name)
		close(held)
	}
}

// beforeWrite waits as long as the brake wants.
func (b *brake) beforeWrite(name string) {
	b.mu.Lock()
	var wait []chan struct{}
	for part, held := range b.held {
		if strings.Contains(name, part) {
			wait = append(wait, held)
		}
	}
	b.mu.Unlock()
	for _, held := range wait {
		<-held
	}
}

func (b *brake) beforeSync() {
	b.mu.Lock()
	d := b.sync
	if b.rate > 0 {
		d += time.Duration(float64(b.unsynced) / float64(b.rate) * float64(time.Second))
	}
	b.unsynced = 0
	b.mu.Unlock()
	time.Sleep(d)
}

// limit lets syncs make only so many bytes durable in a second.
func (b *brake) limit(rate int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rate = rate
}

func (b *brake) wrote(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsynced += bytes
}

type brakedFS struct {
	disk.FS
	brake *brake
}

func (f brakedFS) Create(name string) (disk.File, error) {
	file, err := f.FS.Create(name)
	return brakedFile{file, f.brake, name}, err
}

func (f brakedFS) Open(name string) (disk.File, error) {
	file, err := f.FS.Open(name)
	return brakedFile{file, f.brake, name}, err
}

func (f brakedFS) SyncDir() error {
	f.brake.beforeSync()
	return f.FS.SyncDir()
}

type brakedFile struct {
	disk.File
	brake *brake
	name  string
}

func (f brakedFile) WriteParts(parts [][]byte, offset int64) error {
	f.brake.beforeWrite(f.name)
	for _, part := range parts {
		f.brake.wrote(len(part))
	}
	return f.File.WriteParts(parts, offset)
}

func (f brakedFile) Sync() error {
	f.brake.beforeSync()
	return f.File.Sync()
}
