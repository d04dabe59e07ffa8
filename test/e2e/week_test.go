package e2e

import (
	"cmp"
	"context"
	little "encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// week is how much redo is shipped, and of how much the log and the old versions
// are kept.
type week struct {
	shipped, kept uint64
	pages         uint64
	every         uint64 // bytes between two samples
	checkpoint    uint64 // bytes after which a page's next change is a whole image again
}

// weeks are the default size and the full one, for which the days of a week and a
// retention of one day give the ratio.
func weeks() week {
	if gib, err := strconv.ParseFloat(os.Getenv("PINETREE_E2E_WEEK_GIB"), 64); err == nil {
		all := uint64(gib * (1 << 30))
		return week{shipped: all, kept: all / 10, pages: 100_000, every: all / 200, checkpoint: all / 40}
	}
	return week{shipped: 16 << 20, kept: 2 << 20, pages: 300, every: 1 << 20, checkpoint: 1 << 20}
}

// redoer makes redo as PostgreSQL does: transactions of a few changes, most of them
// of few bytes of few pages, and after each checkpoint the first change of a page
// with the whole page. The value of a page's first bytes counts its changes.
type redoer struct {
	week
	random  *rand.Rand
	hot     *rand.Zipf
	image   map[uint64]uint64 // by page: where its last image was
	version map[uint64]uint64
	last    map[uint64]pinetree.LSN // by page: its last change
	noise   []byte
	tail    pinetree.LSN
}

const redoPageBytes = 8 << 10

func newRedoer(w week) *redoer {
	r := &redoer{week: w, random: rand.New(rand.NewPCG(7, 7)), image: map[uint64]uint64{}, version: map[uint64]uint64{}, last: map[uint64]pinetree.LSN{}}
	r.hot = rand.NewZipf(r.random, 1.1, 20, w.pages-1)
	r.noise = make([]byte, 1<<20)
	for i := range r.noise {
		r.noise[i] = byte(r.random.Uint32())
	}
	return r
}

// some are bytes that do not compress.
func (r *redoer) some(n int) []byte {
	at := r.random.IntN(len(r.noise) - n)
	return slices.Clone(r.noise[at : at+n])
}

// transaction makes the records of the next one.
func (r *redoer) transaction() ([]pinetree.Record, error) {
	var records []pinetree.Record
	for range 2 + r.random.IntN(6) {
		page := r.hot.Uint64()
		r.version[page]++
		redo := &storepb.Redo{}
		if at, imaged := r.image[page]; !imaged || uint64(r.tail)-at >= r.checkpoint {
			r.image[page] = uint64(r.tail)
			image := r.some(redoPageBytes)
			little.LittleEndian.PutUint64(image, r.version[page])
			redo.Ops = []*storepb.RedoOp{{Op: &storepb.RedoOp_PageImage{PageImage: &storepb.PageImage{Page: page, Image: image}}}}
		} else {
			size := 40 + r.random.IntN(200)
			redo.Ops = []*storepb.RedoOp{
				{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: page, Bytes: little.LittleEndian.AppendUint64(nil, r.version[page])}}},
				{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: page, Offset: uint32(8 + r.random.IntN(redoPageBytes-8-size)), Bytes: r.some(size)}}},
			}
		}
		payload, err := proto.Marshal(redo)
		if err != nil {
			return nil, err
		}
		next := r.tail + pinetree.LSN(len(payload))
		records = append(records, pinetree.Record{Prev: r.tail, LSN: next, Payload: payload})
		r.tail, r.last[page] = next, next
	}
	return records, nil
}

// weekday is how the cluster is at one moment of the week.
type weekday struct {
	shipped uint64 // bytes
	after   time.Duration
	disk    int64         // bytes of the files of all nodes
	memory  int64         // bytes of all nodes' processes
	p99     time.Duration // of the acknowledgements since the one before
}

// TestAWeekOfRedoTakesNoMoreRoomThanItsRetention ships many times what is kept:
// once the first retention is over, neither disk nor memory nor the time that a
// commit takes may grow any more.
func TestAWeekOfRedoTakesNoMoreRoomThanItsRetention(t *testing.T) {
	w := weeks()
	c := startCluster(t, 3)
	volume := c.createVolume("week", pinetree.FormatRedo)
	leader := c.mustLeader(volume.Group)
	if _, err := wirepb.NewVolumesClient(c.dial(leader.addr)).SetVolume(c.within(10*time.Second), &wirepb.SetVolumeRequest{
		Volume: volume.Volume, Settings: &wirepb.VolumeSettings{KeepBytes: w.kept},
	}); err != nil {
		t.Fatal(err)
	}
	var latencies acks
	writer, err := c.client("week").OpenWriter(c.within(20*time.Second), ship.WriterConfig{
		RetryFor: time.Minute, WindowBytes: 1 << 20, BatchBytes: 64 << 10, Acked: latencies.hear,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newRedoer(w)
	var samples []weekday
	began, next := time.Now(), w.every
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
	defer cancel()
	for uint64(r.tail) < w.shipped {
		records, err := r.transaction()
		if err == nil {
			err = writer.Append(ctx, records...)
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", r.tail, err)
		}
		if uint64(r.tail) >= next {
			next += w.every
			samples = append(samples, weekday{uint64(r.tail), time.Since(began), c.disk(), c.memory(), latencies.p99()})
		}
	}
	if err := writer.Flush(c.within(time.Minute)); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("%d MiB in %v: %.1f MB/s", w.shipped>>20, took.Round(time.Second), float64(w.shipped)/1e6/took.Seconds())
	if w.shipped >= 1<<30 { // below, it would be told from what the nodes hold in memory and in files of a fixed size
		judge(t, w, samples)
	}
	if path := os.Getenv("PINETREE_E2E_WEEK_CHART"); path != "" {
		if err := os.WriteFile(path, []byte(chart(w, samples)), 0o644); err != nil {
			t.Error(err)
		}
	}
	within(t, 30*time.Second, "what is not kept is gone", func() error {
		s, err := c.state(c.mustLeader(volume.Group), volume.Volume, wirepb.ReadLevel_STALE, 5*time.Second)
		if kept := uint64(r.tail) - s.GetWatermarks().GetTruncated(); err == nil && kept > 2*w.kept {
			err = fmt.Errorf("%d bytes are kept, %d are to be: %s", kept, w.kept, s.GetKeptBecause())
		}
		return err
	})
	c.checkPages(volume.Volume, r)
}

// judge compares the last quarter of the week with the part that follows on the
// first two retentions.
func judge(t *testing.T, w week, samples []weekday) {
	t.Helper()
	after := samples[slices.IndexFunc(samples, func(s weekday) bool { return s.shipped >= 2*w.kept }):]
	early, late := after[:len(after)/3], after[len(after)*3/4:]
	for _, m := range []struct {
		name   string
		of     func(weekday) int64
		factor float64
		least  int64 // what a difference must have to mean anything
	}{
		{"MiB on disk", func(s weekday) int64 { return s.disk >> 20 }, 1.3, 120},
		{"MiB of memory", func(s weekday) int64 { return s.memory >> 20 }, 1.3, 150},
		{"µs p99 of a commit", func(s weekday) int64 { return s.p99.Microseconds() }, 2, 30_000},
	} {
		a, b := middle(early, m.of), middle(late, m.of)
		t.Logf("%s: %d after two retentions, %d in the last quarter", m.name, a, b)
		if float64(b) > m.factor*float64(a) && b-a > m.least {
			t.Errorf("%s grow from %d to %d", m.name, a, b)
		}
	}
}

func middle(samples []weekday, of func(weekday) int64) int64 {
	var list []int64
	for _, s := range samples {
		list = append(list, of(s))
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// checkPages compares pages on every node with what was written last, and has
// reads below what is kept refused.
func (c *cluster) checkPages(volume uint64, r *redoer) {
	c.t.Helper()
	for _, n := range c.nodes {
		reads := c.reads(n)
		o := &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE, MinLsn: uint64(r.tail)}
		checked := 0
		for page, version := range r.version {
			got, err := reads.Page(c.within(30*time.Second), &wirepb.PageRequest{Volume: volume, Options: o, Page: page})
			if err != nil {
				c.t.Fatalf("%s: page %d: %v", n.name, page, err)
			}
			if found := little.LittleEndian.Uint64(got.GetPage()); found != version || got.GetPageLsn() != uint64(r.last[page]) {
				c.t.Fatalf("%s: page %d was changed %d times, last at %s, and is read as of change %d at %s", n.name, page, version, r.last[page], found, pinetree.LSN(got.GetPageLsn()))
			}
			if checked++; checked == 2000 {
				break
			}
		}
		_, err := reads.Page(c.within(10*time.Second), &wirepb.PageRequest{Volume: volume, Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE, At: 100}, Page: 0})
		if err == nil || !strings.Contains(err.Error(), "no longer kept") {
			c.t.Errorf("%s: a read at the beginning, which is not kept: %v", n.name, err)
		}
	}
}

// acks keeps the latencies of acknowledgements between two looks.
type acks struct {
	mu   sync.Mutex
	list []time.Duration
}

func (a *acks) hear(one ship.Acked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, one.Latency)
}

func (a *acks) p99() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) == 0 {
		return 0
	}
	slices.Sort(a.list)
	at := a.list[len(a.list)*99/100]
	a.list = a.list[:0]
	return at
}

// disk is how much room the files of the nodes take, sparse ones as much as they
// have blocks.
func (c *cluster) disk() (total int64) {
	for _, n := range c.nodes {
		_ = filepath.WalkDir(n.dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				if info, err := entry.Info(); err == nil { // it may be gone by now
					total += blocks(info)
				}
			}
			return nil
		})
	}
	return total
}

// memory is what the nodes' processes have of it.
func (c *cluster) memory() (total int64) {
	for _, n := range c.nodes {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			// Files that are mapped count for those who map them, and are no
			// memory that grows.
			if kib, is := strings.CutPrefix(line, "RssAnon:"); is {
				size, _ := strconv.ParseInt(strings.Fields(kib)[0], 10, 64)
				total += size << 10
			}
		}
	}
	return total
}

// chart draws the week, one line for each of what is sampled.
func chart(w week, samples []weekday) string {
	const width, height, left, top = 860, 150, 90, 30
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width+left+30, 3*(height+50)+40)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="18">%.1f GiB of redo, of which %.1f GiB are kept, on three nodes</text>`+"\n", left, float64(w.shipped)/(1<<30), float64(w.kept)/(1<<30))
	for i, panel := range []struct {
		name string
		of   func(weekday) float64
	}{
		{"GiB on disk", func(s weekday) float64 { return float64(s.disk) / (1 << 30) }},
		{"GiB of memory", func(s weekday) float64 { return float64(s.memory) / (1 << 30) }},
		{"ms p99 of a commit", func(s weekday) float64 { return float64(s.p99) / 1e6 }},
	} {
		y := top + i*(height+50)
		most := panel.of(slices.MaxFunc(samples, func(a, b weekday) int { return cmp.Compare(panel.of(a), panel.of(b)) }))
		most = max(most*1.1, 0.001)
		x := func(shipped uint64) float64 { return left + float64(shipped)/float64(w.shipped)*width }
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#999"/>`, left, y, width, height)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%.2f</text><text x="%d" y="%d" text-anchor="end">0</text><text x="%d" y="%d">%s</text>`+"\n", left-6, y+10, most, left-6, y+height, left+6, y+14, panel.name)
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#c66" stroke-dasharray="4"/>`, x(w.kept), x(w.kept), y, y+height)
		b.WriteString(`<polyline fill="none" stroke="#246" stroke-width="1.5" points="`)
		for _, s := range samples {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(s.shipped), float64(y+height)-panel.of(s)/most*height)
		}
		b.WriteString(`"/>` + "\n")
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d">redo shipped, 0 to %.1f GiB; the dashed line is where the first retention is over</text></svg>`+"\n", left, 3*(height+50)+20, float64(w.shipped)/(1<<30))
	return b.String()
}
