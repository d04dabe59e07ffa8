package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pinetree-db/pinetree/test/bench/peers/measure"
)

// drainTimeout bounds the wait for what is outstanding when a load ends.
const drainTimeout = 30 * time.Second

// A Record is one payload on its way to a system. It belongs to the client from
// Submit until the client hands it to Sink.Acked.
type Record struct {
	Payload []byte // nobody changes it

	submitted time.Time
	acked     chan struct{} // closed loop only, capacity 1
}

// A Client carries records to one system. Submit may be called concurrently.
type Client interface {
	// Submit takes records over; it may block while the system takes no more.
	// The slice is the caller's again when it returns.
	Submit(records []*Record)
	// Close ends the client and everything that it started.
	Close() error
}

// A Sink hears from a client what has become of the records.
type Sink interface {
	// Acked says that the system has committed records: each of them is on
	// disk, after fsync, on a majority of the servers. The slice is the
	// caller's again when it returns.
	Acked(records []*Record)
	// Failed says that the client is broken. Records that were submitted may
	// never be acknowledged.
	Failed(err error)
}

// Config says what to measure.
type Config struct {
	Shape
	Warmup, Duration time.Duration
	// Servers are the processes that count, beside the calling one.
	Servers []measure.PID
}

// A Result is what one load measured. Its JSON is that of `pinetree bench
// ship`.
type Result struct {
	OpsPerSecond float64 `json:"ops_s"`
	MBPerSecond  float64 `json:"mb_s"` // of payload, in 10^6 bytes
	P50          float64 `json:"p50_us"`
	P99          float64 `json:"p99_us"`
	P999         float64 `json:"p999_us"`
	CPUPer100k   float64 `json:"cpu_s_per_100k"` // seconds of all processes for 100,000 records
	PeakRSS      float64 `json:"rss_peak_mb"`    // of the largest server
	// WrittenPerByte is what a server wrote to its raft log for each byte of
	// payload, FsyncsPerCommit how often it synced it for each record; means of
	// all servers, and known of Pinetree only.
	WrittenPerByte  float64 `json:"bytes_written_per_payload_byte,omitempty"`
	FsyncsPerCommit float64 `json:"fsyncs_per_commit,omitempty"`
	// Acked counts all acknowledged records, those before and after the
	// measured time included.
	Acked uint64 `json:"acked,omitempty"`
}

// Run puts the load on the system that dial reaches, and measures it after the
// warm-up. When it returns without an error every record that was submitted has
// been acknowledged and the client is closed.
func Run(ctx context.Context, cfg Config, dial func(Sink) (Client, error)) (Result, error) {
	if (cfg.Inflight > 0) == (cfg.Window > 0) {
		return Result{}, errors.New("a load has either records in flight or a window; give one of them")
	}
	m := newMeter(cfg)
	client, err := dial(m)
	if err != nil {
		return Result{}, fmt.Errorf("reach the system: %w", err)
	}
	var workers sync.WaitGroup
	if cfg.Inflight > 0 {
		for i := range cfg.Inflight {
			workers.Go(func() { m.closedLoop(client, payload(cfg.RecordSize, workerSeed(i))) })
		}
	} else {
		workers.Go(func() { m.stream(client) })
	}
	err = m.measure(ctx)
	m.stopWriting()
	if err == nil {
		err = m.drain(ctx)
	}
	m.abandon() // frees those who wait for acknowledgements that will not come
	err = errors.Join(err, client.Close())
	workers.Wait()
	if err != nil {
		return Result{}, err
	}
	return m.result(), nil
}

type workerSeed uint64

// payload is random, so that no system gains by compressing it.
func payload(size int, seed workerSeed) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// measure lets the load run through warm-up and measured time.
func (m *meter) measure(ctx context.Context) error {
	if err := m.run(ctx, m.cfg.Warmup); err != nil {
		return err
	}
	if err := m.begin(); err != nil {
		return err
	}
	if err := m.run(ctx, m.cfg.Duration); err != nil {
		return err
	}
	return m.end()
}

func (m *meter) run(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-m.failed:
		return m.failure
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drain waits until everything that was submitted is acknowledged.
func (m *meter) drain(ctx context.Context) error {
	deadline := time.Now().Add(drainTimeout)
	for {
		left := m.outstanding()
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d records were not acknowledged within %v of the end of the load", left, drainTimeout)
		}
		if err := m.run(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}
