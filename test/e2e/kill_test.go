package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// full tells that all rounds are to be run, as `make e2e` does.
func full() bool { return os.Getenv("PINETREE_E2E") == "full" }

// beside lets a test run beside others like it: one that measures nothing, and whose
// deadlines are wide. In full size each test has the machine for itself.
func beside(t *testing.T) {
	if !full() {
		t.Parallel()
	}
}

// long leaves a test to `make e2e`, in either of its sizes, which CI runs with the race
// detector: so that `go test ./...` stays short.
func long(t *testing.T) {
	if os.Getenv("PINETREE_E2E") == "" {
		t.Skip("PINETREE_E2E=short runs it")
	}
}

// rounds is how many of a measurement are to be run: as PINETREE_E2E_ROUNDS says,
// or as the size of the run does.
func rounds(t *testing.T, short, whole int) int {
	t.Helper()
	if said := os.Getenv("PINETREE_E2E_ROUNDS"); said != "" {
		n, err := strconv.Atoi(said)
		if err != nil || n <= 0 {
			t.Fatalf("PINETREE_E2E_ROUNDS is %q, not a number of rounds", said)
		}
		return n
	}
	if full() {
		return whole
	}
	return short
}

// ledger writes records whose content follows from their place, and remembers
// up to where they were acknowledged.
type ledger struct {
	writer *ship.Writer
	acked  atomic.Uint64 // LSN
	tail   pinetree.LSN  // appended
	pace   time.Duration // of run, after every 50 records
}

const recordBytes = 100

// payload of the record that ends at an LSN.
func payload(lsn pinetree.LSN) []byte {
	p := bytes.Repeat([]byte{byte(lsn / recordBytes)}, recordBytes-16)
	return fmt.Appendf(p, "%016x", uint64(lsn))
}

// run appends until the context ends.
func (l *ledger) run(ctx context.Context) error {
	for ctx.Err() == nil {
		r := pinetree.Record{Prev: l.tail, LSN: l.tail + recordBytes, Payload: payload(l.tail + recordBytes)}
		if err := l.writer.Append(ctx, r); err != nil {
			if ctx.Err() != nil {
				break
			}
			return err
		}
		l.tail = r.LSN
		if l.pace > 0 && l.tail%(50*recordBytes) == 0 {
			select {
			case <-ctx.Done():
			case <-time.After(l.pace):
			}
		}
	}
	return nil
}

// TestNothingAcknowledgedIsLost kills, pauses and restarts random nodes under a
// writer: what was acknowledged is there once, in order, the same everywhere, and
// comes so to those who follow the log.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	beside(t)
	rounds := 12
	if full() {
		rounds = 500
	}
	c := startCluster(t, 3)
	volume := c.createVolume("ledger", pinetree.FormatOpaque)
	client := c.client("ledger")
	l := &ledger{pace: 2 * time.Millisecond}
	var err error
	l.writer, err = client.OpenWriter(c.within(20*time.Second), ship.WriterConfig{
		RetryFor: time.Minute, WindowBytes: 1 << 20, BatchBytes: 8 << 10,
		Acked: func(a ship.Acked) { l.acked.Store(uint64(a.LSN)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	followers := c.follow("ledger")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx) }()

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	began := time.Now()
	for round := range rounds {
		before := l.acked.Load()
		c.harm(random)
		within(t, 30*time.Second, fmt.Sprintf("round %d: an acknowledgement", round), func() error {
			select {
			case err := <-ended:
				t.Fatalf("round %d: the writer ended: %v", round, err)
			default:
			}
			if l.acked.Load() <= before {
				return fmt.Errorf("still at %s", pinetree.LSN(before))
			}
			return nil
		})
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := l.writer.Flush(c.within(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if got := pinetree.LSN(l.acked.Load()); got != l.tail {
		t.Fatalf("acknowledged up to %s, appended up to %s", got, l.tail)
	}
	t.Logf("%d rounds, %d records in %v", rounds, l.tail/recordBytes, time.Since(began).Round(time.Millisecond))
	c.verify(volume.Volume, l.tail)
	for _, f := range followers {
		f.finish(t, l.tail)
	}
}

// harm does one bad thing to one node, and undoes it.
func (c *cluster) harm(random *rand.Rand) {
	c.t.Helper()
	c.harmNode(random, c.nodes[random.IntN(len(c.nodes))])
}

func (c *cluster) harmNode(random *rand.Rand, n *node) {
	c.t.Helper()
	pause := time.Duration(random.IntN(400)) * time.Millisecond
	switch random.IntN(3) {
	case 0:
		n.kill()
		time.Sleep(pause)
		n.start()
	case 1:
		n.signal(syscall.SIGSTOP)
		time.Sleep(pause + 200*time.Millisecond)
		n.signal(syscall.SIGCONT)
	case 2: // a power button pressed while the node hangs
		n.signal(syscall.SIGSTOP)
		time.Sleep(pause)
		n.kill()
		n.start()
	}
	c.awaitServing(n)
}

// awaitServing returns when a node answers, so that a majority is never away.
func (c *cluster) awaitServing(n *node) {
	c.t.Helper()
	within(c.t, 20*time.Second, n.name+" serves", func() error {
		return c.alive(n)
	})
}

// verify reads the log from every replica: each record that was acknowledged,
// once, with its content, and nothing else; all digests are equal.
func (c *cluster) verify(volume uint64, upTo pinetree.LSN) {
	c.t.Helper()
	c.verifyOn(c.nodes, volume, upTo)
}

func (c *cluster) verifyOn(nodes []*node, volume uint64, upTo pinetree.LSN) {
	c.t.Helper()
	digests := map[string]string{}
	for _, n := range nodes {
		records, err := c.log(n, volume, upTo)
		if err != nil {
			c.t.Fatal(err)
		}
		if len(records) != int(upTo/recordBytes) {
			c.t.Errorf("%s has %d records, %d were acknowledged", n.name, len(records), upTo/recordBytes)
		}
		for _, r := range records {
			if !bytes.Equal(r.Payload, payload(r.LSN)) {
				c.t.Fatalf("%s: the record at %s is not the one that was written", n.name, r.LSN)
			}
		}
		digests[n.name], err = c.digest(n, volume, upTo)
		if err != nil {
			c.t.Fatal(err)
		}
	}
	for name, d := range digests {
		if d != digests[nodes[0].name] {
			c.t.Errorf("%s differs: %s, %s", name, d, digests[nodes[0].name])
		}
	}
	c.t.Logf("digest of all replicas: %s", digests[nodes[0].name])
}
