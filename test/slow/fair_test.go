package slow

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const (
	// noisyBatch and noisyWindow are those of a writer that ships flat out.
	noisyBatch, noisyWindow = 256 << 10 / scale, 32 << 20 / scale
	// diskRate is what the disks of the logs take in a second. All sizes are scaled
	// down by the same factor, so that the disks are what is short, and not the
	// processors.
	diskRate = 40 << 20 / scale
	scale    = 8
)

// flood appends as fast as the window allows, until the context ends, and returns
// how many bytes were acknowledged.
func (w *writer) flood(ctx context.Context) (int64, error) {
	payload := bytes.Repeat([]byte("noise"), noisyBatch/5)
	began, sent := w.at, w.at
	for {
		p := w.session.Progress()
		if p.Err != nil {
			return 0, p.Err
		}
		w.at = max(w.at, p.Committed)
		sent = max(sent, w.at) // what an earlier flood had sent
		if sent-w.at+noisyBatch > noisyWindow {
			select {
			case <-w.session.Changed():
				continue
			case <-ctx.Done():
				return int64(w.at - began), nil
			}
		}
		next := sent + pinetree.LSN(len(payload))
		b, err := storepb.EncodeBatch(w.volume, 1, []pinetree.Record{{Prev: sent, LSN: next, Payload: payload}})
		if err != nil {
			return 0, err
		}
		if err := w.session.Offer(ctx, []pinetree.Batch{b}); err != nil {
			if ctx.Err() != nil {
				return int64(w.at - began), nil
			}
			return 0, err
		}
		sent = next
	}
}

// noise runs something that makes noise until end.
func (l *load) noise(do func(context.Context) error) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- do(ctx) }()
	return func() {
		cancel()
		if err := <-over; err != nil {
			l.t.Error(err)
		}
	}
}

// Alone the noisy volume has 16 MiB in flight, which these disks take 0.4 s for.
func TestAVolumeThatShipsFlatOutDelaysNoOther(t *testing.T) {
	if os.Getenv("PINETREE_SLOW") != "full" {
		t.Skip("PINETREE_SLOW=full runs it: half a minute, on a machine that does little else")
	}
	for name, of := range map[string]pinetree.GroupID{"of another group": 2, "of its group": 1} {
		t.Run(name, func(t *testing.T) {
			o := host.DefaultOptions()
			o.Replica.MaxInflightBytes /= scale
			o.Replica.MaxSharedBytes /= scale
			o.Replica.MaxEntryBytes /= scale
			o.Replica.MaxMessageBytes /= scale
			c, writers := loadedWith(t, 1, o)
			for _, id := range all {
				c.member(id).logDisk.limit(diskRate)
			}
			g, err := c.member(1).Group(of)
			if err != nil {
				t.Fatal(err)
			}
			noisy := c.newWriter("the noisy one", g, 100)
			l := start(t, writers[:1], c.readers(1, 1))
			l.unmoved(func() func() {
				return l.noise(func(ctx context.Context) error {
					began := time.Now()
					n, err := noisy.flood(ctx)
					t.Logf("the noise was %.0f MB/s", float64(n)/1e6/time.Since(began).Seconds())
					return err
				})
			})
		})
	}
}

// unmoved is unharmed by a noise whose backlog takes a while to be worked off: what
// was before is measured once.
func (l *load) unmoved(begin func() (end func())) {
	l.t.Helper()
	before := l.during(measured)
	limit := factor*before.p99 + grace
	for round := 1; ; round++ {
		end := begin()
		now := l.during(measured)
		end()
		l.t.Logf("before: p99 %v (%s), %d done; during: p99 %v (%s), %d done; limit %v",
			before.p99, before.of, before.done, now.p99, now.of, now.done, limit)
		if now.p99 <= limit {
			return
		}
		if round == rounds {
			l.t.Fatalf("%s waited %v, more than %v, in %d rounds", now.of, now.p99, limit, rounds)
		}
		time.Sleep(2 * time.Second)
	}
}
