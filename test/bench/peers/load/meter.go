package load

import (
	"sync"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/measure"
)

// submitBytes bounds what a stream submits at once.
const submitBytes = 256 << 10

// meter counts what a load submits and what the client acknowledges. Workers,
// the client and the goroutine of Run share it.
type meter struct {
	cfg Config

	failOnce sync.Once
	failed   chan struct{} // closed after failure is set
	failure  error

	mu        sync.Mutex
	released  sync.Cond // a record of a stream is free, or the load is over
	free      []*Record // of a stream: what the window still lets through
	measuring bool
	stopped   bool // nothing more is submitted
	submitted uint64
	acked     uint64
	latencies measure.Histogram
	began     time.Time
	took      time.Duration
	usage     measure.Usage // at the beginning, then the difference
}

func newMeter(cfg Config) *meter {
	m := &meter{cfg: cfg, failed: make(chan struct{})}
	m.released.L = &m.mu
	return m
}

// Acked implements Sink.
func (m *meter) Acked(records []*Record) {
	now := time.Now()
	m.mu.Lock()
	m.acked += uint64(len(records))
	if m.measuring {
		for _, r := range records {
			m.latencies.Add(now.Sub(r.submitted))
		}
	}
	if m.cfg.Window > 0 {
		m.free = append(m.free, records...)
		m.released.Signal()
	}
	m.mu.Unlock()
	if m.cfg.Inflight > 0 {
		for _, r := range records {
			r.acked <- struct{}{}
		}
	}
}

// Failed implements Sink. The first failure counts.
func (m *meter) Failed(err error) {
	m.failOnce.Do(func() {
		m.failure = err
		close(m.failed)
	})
}

// closedLoop is one worker: it submits a record, waits for its acknowledgement,
// and goes on with the next.
func (m *meter) closedLoop(client Client, payload []byte) {
	r := &Record{Payload: payload, acked: make(chan struct{}, 1)}
	one := []*Record{r}
	for m.maySubmit(1) {
		r.submitted = time.Now()
		client.Submit(one)
		select {
		case <-r.acked:
		case <-m.failed:
			return
		}
	}
}

func (m *meter) maySubmit(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return false
	}
	m.submitted += uint64(n)
	return true
}

// stream is the one writer: it submits whatever the window lets through.
func (m *meter) stream(client Client) {
	for i := range max(m.cfg.Window/m.cfg.RecordSize, 1) {
		// A few payloads are enough to defeat compression of a batch.
		if i < 64 {
			m.free = append(m.free, &Record{Payload: payload(m.cfg.RecordSize, workerSeed(i))})
		} else {
			m.free = append(m.free, &Record{Payload: m.free[i%64].Payload})
		}
	}
	most := max(submitBytes/m.cfg.RecordSize, 1)
	batch := make([]*Record, 0, most)
	for {
		batch = m.takeFree(batch[:0])
		if len(batch) == 0 {
			return
		}
		now := time.Now()
		for _, r := range batch {
			r.submitted = now
		}
		client.Submit(batch)
	}
}

// takeFree fills batch to its capacity, waiting for the first; it returns an
// empty one when the load is over.
func (m *meter) takeFree(batch []*Record) []*Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.free) == 0 && !m.stopped {
		m.released.Wait()
	}
	if m.stopped {
		return nil
	}
	n := min(len(m.free), cap(batch))
	batch = append(batch, m.free[len(m.free)-n:]...)
	m.free = m.free[:len(m.free)-n]
	m.submitted += uint64(n)
	return batch
}

func (m *meter) begin() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	m.usage, err = measure.Take(m.cfg.Servers)
	m.measuring, m.began = true, time.Now()
	return err
}

func (m *meter) end() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.measuring, m.took = false, time.Since(m.began)
	after, err := measure.Take(m.cfg.Servers)
	m.usage = measure.Usage{
		CPU:     after.CPU - m.usage.CPU,
		PeakRSS: after.PeakRSS,
	}
	return err
}

func (m *meter) stopWriting() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	m.released.Broadcast()
}

func (m *meter) outstanding() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.submitted - m.acked
}

// abandon lets workers go that wait for an acknowledgement. After a load that
// went well there are none.
func (m *meter) abandon() {
	m.Failed(nil)
}

func (m *meter) result() Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	records := float64(m.latencies.Count())
	payload := records * float64(m.cfg.RecordSize)
	micros := func(q float64) float64 { return float64(m.latencies.Quantile(q).Nanoseconds()) / 1e3 }
	r := Result{
		OpsPerSecond: records / m.took.Seconds(),
		MBPerSecond:  payload / m.took.Seconds() / 1e6,
		P50:          micros(0.5), P99: micros(0.99), P999: micros(0.999),
		PeakRSS: float64(m.usage.PeakRSS) / 1e6,
		Acked:   m.acked,
	}
	if records > 0 {
		r.CPUPer100k = m.usage.CPU.Seconds() / records * 1e5
	}
	return r
}
