package slow

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// meter keeps latencies. The one who waits still counts with the time for which
// it waits.
type meter struct {
	mu    sync.Mutex
	took  []time.Duration
	began time.Time // of what is under way; zero when nothing is
}

func (m *meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.began = time.Now()
}

func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.took = append(m.took, time.Since(m.began))
	m.began = time.Time{}
}

// reset forgets all latencies.
func (m *meter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.took = nil
}

// p99 of what ended since reset, or the time for which somebody waits, if that
// is longer.
func (m *meter) p99() (time.Duration, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var worst time.Duration
	if n := len(m.took); n > 0 {
		slices.Sort(m.took)
		worst = m.took[(n-1)*99/100]
	}
	if !m.began.IsZero() {
		worst = max(worst, time.Since(m.began))
	}
	return worst, len(m.took)
}

// pause is how long a writer or a reader rests in between, so that the machine
// is not what is slow.
const pause = 3 * time.Millisecond

// writer appends one batch after the other to a volume, each when the one before
// was acknowledged.
type writer struct {
	meter
	name    string
	volume  pinetree.VolumeID
	session *host.Session
	at      pinetree.LSN
}

// newWriter makes a volume in a group and opens it.
func (c *cluster) newWriter(name string, g *host.Group, volume pinetree.VolumeID) *writer {
	c.t.Helper()
	if err := g.CreateVolume(c.ctx(5*time.Second), volume, pinetree.FormatOpaque); err != nil {
		c.t.Fatal(err)
	}
	if _, err := g.Open(c.ctx(5*time.Second), volume, adapter.Fence{}); err != nil {
		c.t.Fatal(err)
	}
	session, err := g.Ship(c.ctx(5*time.Second), volume, 1)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(session.Close)
	return &writer{name: name, volume: volume, session: session}
}

// write appends a batch and waits for its acknowledgement.
func (w *writer) write(ctx context.Context, payload []byte) error {
	next := w.at + pinetree.LSN(len(payload))
	b, err := storepb.EncodeBatch(w.volume, 1, []pinetree.Record{{Prev: w.at, LSN: next, Payload: payload}})
	if err != nil {
		return err
	}
	w.begin()
	if err := w.session.Offer(ctx, []pinetree.Batch{b}); err != nil {
		return err
	}
	for {
		p := w.session.Progress()
		if p.Err != nil {
			return p.Err
		}
		if p.Committed >= next {
			w.end()
			w.at = next
			return nil
		}
		select {
		case <-w.session.Changed():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reader reads a volume with all that was acknowledged before, again and again.
type reader struct {
	meter
	name   string
	group  *host.Group
	volume pinetree.VolumeID
}

func (r *reader) read(ctx context.Context) error {
	r.begin()
	_, err := r.group.Read(ctx, host.ReadRequest{Volume: r.volume, Level: pinetree.ReadConsistent}, func(engine.Reader) error { return nil })
	r.end()
	return err
}

// load is writers and readers at work.
type load struct {
	t       testing.TB
	writers []*writer
	readers []*reader
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// start has them work until stop, which the test's end calls.
func start(t testing.TB, writers []*writer, readers []*reader) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, writers: writers, readers: readers, cancel: cancel}
	for _, w := range writers {
		payload := bytes.Repeat([]byte{byte(w.volume)}, 100)
		l.running.Go(func() { l.repeat(ctx, w.name, func() error { return w.write(ctx, payload) }) })
	}
	for _, r := range readers {
		l.running.Go(func() { l.repeat(ctx, r.name, func() error { return r.read(ctx) }) })
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) repeat(ctx context.Context, name string, do func() error) {
	for ctx.Err() == nil {
		if err := do(); err != nil && ctx.Err() == nil {
			l.t.Errorf("%s: %v", name, err)
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (l *load) stop() {
	l.cancel()
	l.running.Wait()
}

// worst is the longest p99 of a writer or reader.
type worst struct {
	p99  time.Duration
	of   string
	done int // by all of them
}

// during measures for a while.
func (l *load) during(d time.Duration) worst {
	for _, w := range l.writers {
		w.reset()
	}
	for _, r := range l.readers {
		r.reset()
	}
	time.Sleep(d)
	var found worst
	note := func(name string, m *meter) {
		p99, done := m.p99()
		found.done += done
		if p99 >= found.p99 {
			found.p99, found.of = p99, name
		}
	}
	for _, w := range l.writers {
		note(w.name, &w.meter)
	}
	for _, r := range l.readers {
		note(r.name, &r.meter)
	}
	return found
}

const (
	// factor and grace are what a slow part may do to the p99 of the rest.
	factor = 5
	grace  = 50 * time.Millisecond
	// measured is how long each half of a comparison takes, and harm how long
	// one sync takes, or none at all, in the second half.
	measured = 1500 * time.Millisecond
	harm     = 900 * time.Millisecond
	// rounds is how often a comparison is made at most. A machine that is busy
	// with something else spoils one; a part that holds up the rest, all of them.
	rounds = 3
)

// unharmed compares before with during: every writer's and every reader's p99
// must stay within the factor of the slowest one's before, and a grace.
func (l *load) unharmed(begin func() (end func())) {
	l.t.Helper()
	for round := 1; ; round++ {
		before := l.during(measured)
		end := begin()
		now := l.during(measured)
		end()
		limit := factor*before.p99 + grace
		l.t.Logf("before: p99 %v (%s), %d done; during: p99 %v (%s), %d done; limit %v",
			before.p99, before.of, before.done, now.p99, now.of, now.done, limit)
		if now.p99 <= limit && now.done >= before.done/factor {
			return
		}
		if round == rounds {
			l.t.Fatalf("%s waited %v, more than %v, in %d rounds", now.of, now.p99, limit, rounds)
		}
		time.Sleep(harm + 500*time.Millisecond) // what piled up is worked off
	}
}
