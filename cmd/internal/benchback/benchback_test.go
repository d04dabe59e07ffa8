package benchback

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine"
)

func config(t *testing.T) Config {
	return Config{
		Bytes: 6 << 20, BatchBytes: 20_000, WriteBytes: 100_000, SliceBytes: 300_000, Rounds: 2, Dir: t.TempDir(), Say: io.Discard,
		Open: func(dir string) (engine.Store, error) {
			return walengine.Open(dir, walengine.Options{FileBytes: 2 << 20, Logger: slog.New(slog.DiscardHandler)})
		},
	}
}

// onDisk skips a test whose files are in memory, where nothing is fetched.
func onDisk(t *testing.T, dir string) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.OVERLAYFS_SUPER_MAGIC || fetchedBytes() < 0 {
		t.Skip("the files are not on a disk that says what is fetched from it")
	}
}

// TestEachReadingFetchesAllOfIt: what was in memory would be no reading back from
// the disk, which Run tells by what was fetched.
func TestEachReadingFetchesAllOfIt(t *testing.T) {
	cfg := config(t)
	onDisk(t, cfg.Dir)
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kinds) != 3 || len(r.Ratios) != 2 || r.Ratios[0].Of != Log || r.Ratios[0].Want != bar || r.Ratios[1].Want != 0 {
		t.Fatalf("measured: %+v", r)
	}
	for i, m := range r.Kinds {
		if m.Kind != kinds[i] || len(m.Rounds) != 2 || m.MB < 6.2 || m.MB > 7 || m.MBPerSecond <= 0 || m.FetchedMB < m.MB*0.9 {
			t.Errorf("%s: %+v; there are 6 MiB in batches, and some more in the files", m.Kind, m)
		}
	}
	var text strings.Builder
	if err := r.Print(&text); err != nil || !strings.Contains(text.String(), "log ÷ plain") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

// TestALogThatIsNotWholeIsNoMeasurement cuts off what a reader is given.
func TestALogThatIsNotWholeIsNoMeasurement(t *testing.T) {
	cfg := config(t)
	end, err := cfg.write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	store, err := cfg.Open(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() // it is only read
	r := &run{cfg: cfg, end: end}
	if err := r.readLog(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	r.end += 1
	if err := r.readLog(t.Context(), store); !errors.Is(err, pinetree.ErrCorrupt) {
		t.Errorf("a log that ends before its end: %v", err)
	}
	r.end -= 1
	for name, bad := range map[string]engine.Store{"hole": holes{store, 5}, "twice": holes{store, -5}} {
		if err := r.readLog(t.Context(), bad); !errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// holes is a store whose log lacks each batch of that number, or gives it twice
// when it is below zero.
type holes struct {
	engine.Store
	every int
}

type holed struct {
	engine.Engine
	holes
}

type reader struct {
	engine.Reader
	holes
}

func (h holes) Open(id pinetree.GroupID) (engine.Engine, error) {
	e, err := h.Store.Open(id)
	return holed{e, h}, err
}

func (h holed) Volume(id pinetree.VolumeID) (engine.Reader, error) {
	v, err := h.Engine.Volume(id)
	return reader{v, h.holes}, err
}

func (r reader) Log(from pinetree.LSN, fn func(pinetree.Batch) error) error {
	n := 0
	return r.Reader.Log(from, func(b pinetree.Batch) error {
		switch n++; {
		case n == r.every:
			return nil
		case n == -r.every:
			if err := fn(b); err != nil {
				return err
			}
		}
		return fn(b)
	})
}

func TestRatiosAreThoseOfTheRounds(t *testing.T) {
	var r Result
	for _, round := range [][2]float64{{1000, 900}, {100, 70}, {500, 250}} {
		r.add(Log, Sample{MBPerSecond: round[1]})
		r.add(Plain, Sample{MBPerSecond: round[0]})
	}
	r.finish(Config{})
	if q := r.Ratios[0]; q.Is != 0.7 || q.Met || r.Kinds[0].Kind != Plain || r.Kinds[0].MBPerSecond != 500 {
		t.Errorf("%+v", r)
	}
}

func TestWhatCannotBeReadBackIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no round": func(c *Config) { c.Rounds = 0 }, "no slice": func(c *Config) { c.SliceBytes = 0 },
		"a batch larger than a write": func(c *Config) { c.BatchBytes = 200_000 }, "a write larger than the log": func(c *Config) { c.Bytes = 50_000 },
	} {
		cfg := config(t)
		change(&cfg)
		if _, err := Run(t.Context(), cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
