package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// tailsSize is how large a test of many tails is.
type tailsSize struct {
	live, behind int
	backlog      int           // bytes that the latter have to catch up with
	rate         int           // records a second that are shipped meanwhile
	shortest     time.Duration // of each measurement
	rounds       int
}

// tailing is a process that has tails open.
type tailing struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func startTailing(t *testing.T, p tailerPlan) *tailing {
	t.Helper()
	plan, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// It stands for many machines: what it takes of this one must not be taken from
	// the nodes when both want it.
	cmd := exec.Command("nice", "-n", "10", self)
	cmd.Env = append(os.Environ(), tailerEnv+"="+string(plan), "GOGC=400")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &tailing{t: t, cmd: cmd, in: in, out: json.NewDecoder(bufio.NewReader(out))}
	t.Cleanup(s.stop)
	return s
}

// stop ends the process.
func (s *tailing) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// ask sends a line and decodes the answer.
func (s *tailing) ask(what string, lsn pinetree.LSN, answer any) error {
	if _, err := fmt.Fprintf(s.in, "%s %d\n", what, uint64(lsn)); err != nil {
		return err
	}
	return s.out.Decode(answer)
}

// steadyWriter ships records at a rate and times them.
type steadyWriter struct {
	t      *testing.T
	writer *ship.Writer
	at     pinetree.LSN

	mu   sync.Mutex
	due  []dueRecord // not acknowledged, in order
	took []time.Duration
}

type dueRecord struct {
	lsn pinetree.LSN
	at  time.Time
}

func (w *steadyWriter) acked(a ship.Acked) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.due) > 0 && w.due[0].lsn <= a.LSN {
		w.took = append(w.took, now.Sub(w.due[0].at))
		w.due = w.due[1:]
	}
}

// append ships one record, whose time begins when it was due.
func (w *steadyWriter) append(payload []byte, due time.Time) {
	w.t.Helper()
	next := w.at + pinetree.LSN(len(payload))
	w.mu.Lock()
	w.due = append(w.due, dueRecord{next, due})
	w.mu.Unlock()
	if err := w.writer.Append(w.t.Context(), pinetree.Record{Prev: w.at, LSN: next, Payload: payload}); err != nil {
		w.t.Fatal(err)
	}
	w.at = next
}

func (w *steadyWriter) flush() {
	w.t.Helper()
	if err := w.writer.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// steady ships records of 512 bytes until done says so, for so long at least, and
// returns how long they took, sorted.
func (w *steadyWriter) steady(rate int, shortest time.Duration, done func() bool) []time.Duration {
	w.t.Helper()
	w.mu.Lock()
	w.took = nil
	w.mu.Unlock()
	payload := slices.Repeat([]byte("redo"), 128)
	began := time.Now()
	for i := 0; time.Since(began) < shortest || !done(); i++ {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		w.append(payload, due)
	}
	w.flush()
	w.mu.Lock()
	defer w.mu.Unlock()
	var tenths []string // tells a disturbance of the machine from what lasts
	for part := range slices.Chunk(w.took, max(1, (len(w.took)+9)/10)) {
		tenths = append(tenths, quantile(slices.Sorted(slices.Values(part)), 0.99).Round(100*time.Microsecond).String())
	}
	w.t.Logf("p99 in tenths: %v", tenths)
	slices.Sort(w.took)
	return w.took
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}

// TestManyTails ships at a steady rate without tails and with many: most of them
// live, the rest catching up with a backlog. Every tail gets every batch once and
// in order, and shipping hardly notices.
func TestManyTails(t *testing.T) {
	size := tailsSize{live: 90, behind: 10, backlog: 8 << 20, rate: 100, shortest: time.Second, rounds: 1}
	if full() {
		size = tailsSize{live: 900, behind: 100, backlog: 64 << 20, rate: 200, shortest: 20 * time.Second, rounds: rounds(t, 1, 3)}
	}
	if said := os.Getenv("PINETREE_E2E_TAILS"); said != "" {
		if _, err := fmt.Sscanf(said, "%d,%d,%d", &size.live, &size.behind, &size.backlog); err != nil {
			t.Fatalf("PINETREE_E2E_TAILS is %q, not like 900,100,1024: live tails, tails that are behind, by so many MiB: %v", said, err)
		}
		size.backlog <<= 20
	}
	c := emptyCluster(t, "--engine", "wal")
	c.reachable = true
	c.fill(3)
	v := c.createVolume("tailed", pinetree.FormatOpaque)
	w := &steadyWriter{t: t}
	var err error
	if w.writer, err = c.client("tailed").OpenWriter(t.Context(), ship.WriterConfig{Acked: w.acked}); err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<10)
	for i := range size.backlog / len(block) {
		block[0] = byte(i)
		w.append(block, time.Now())
	}
	w.flush()
	w.withoutTails(c, size) // warms up
	var without, with []time.Duration
	before := w.withoutTails(c, size)
	for range size.rounds {
		with = append(with, w.withTails(c, v, size))
		// What else the machine does may come and go: half of what is compared
		// with is measured before, and half after.
		after := w.withoutTails(c, size)
		without = append(without, quantile(slices.Sorted(slices.Values(append(before, after...))), 0.99))
		before = after
	}
	slices.Sort(without)
	slices.Sort(with)
	alone, during := quantile(without, 0.5), quantile(with, 0.5)
	t.Logf("p99 of shipping %v without tails and %v with %d live ones and %d that catch up with %d MiB, medians of %d",
		alone, during, size.live, size.behind, size.backlog>>20, size.rounds)
	limit := 2 * alone
	if !full() {
		limit = 4*alone + 100*time.Millisecond // among other tests
	}
	if during > limit {
		t.Errorf("that is more than %v", limit)
	}
}

// withoutTails measures while there are none.
func (w *steadyWriter) withoutTails(c *cluster, size tailsSize) []time.Duration {
	w.t.Helper()
	began, used := time.Now(), c.processorTime()
	took := w.steady(size.rate, size.shortest, func() bool { return true })
	w.t.Logf("without tails: %d records, p50 %v, p99 %v; nodes took %.2f processors",
		len(took), quantile(took, 0.5), quantile(took, 0.99), (c.processorTime()-used).Seconds()/time.Since(began).Seconds())
	return took
}

// withTails measures while tails are open and until those that are behind have
// caught up.
func (w *steadyWriter) withTails(c *cluster, v *wirepb.VolumeInfo, size tailsSize) time.Duration {
	t := w.t
	t.Helper()
	plan := tailerPlan{Volume: v.Volume, Live: size.live, From: w.at, Behind: size.behind, Streams: 25}
	leader := c.mustLeader(v.Group)
	for _, n := range c.nodes {
		if n != leader { // as adapter/ship does when no replica is nearer
			plan.Addresses = append(plan.Addresses, n.addr)
		}
	}
	s := startTailing(t, plan)
	defer s.stop()
	began := time.Now()
	w.append([]byte("first"), time.Now())
	w.flush()
	var said string
	if err := s.ask("live", w.at, &said); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d tails are live after %v", size.live, time.Since(began).Round(time.Millisecond))
	caughtUp := make(chan error, 1)
	began = time.Now()
	var catching time.Duration
	end := w.at
	go func() {
		err := s.ask("all", end, &said)
		catching = time.Since(began)
		caughtUp <- err
	}()
	used, theirs := c.processorTime(), processorTime(w.t, s.cmd)
	took := w.steady(size.rate, size.shortest, func() bool { return len(caughtUp) > 0 })
	measured := time.Since(began).Seconds()
	used, theirs = c.processorTime()-used, processorTime(w.t, s.cmd)-theirs
	if err := <-caughtUp; err != nil {
		t.Fatal(err)
	}
	ended := time.Now()
	var report tailerReport
	if err := s.ask("end", w.at, &report); err != nil {
		t.Fatal(err)
	}
	lag := time.Since(ended)
	t.Logf("with tails: %d records, p50 %v, p99 %v; caught up after %v, %.0f MB/s; all had the last record %v after it; %d messages, %d resumed streams",
		len(took), quantile(took, 0.5), quantile(took, 0.99), catching.Round(time.Millisecond),
		float64(size.behind*size.backlog)/1e6/catching.Seconds(), lag.Round(time.Millisecond), report.Messages, report.Resumes)
	t.Logf("nodes took %.2f processors, and those who tail %.2f", used.Seconds()/measured, theirs.Seconds()/measured)
	want := tailerReport{Live: size.live, Behind: size.behind, Messages: report.Messages, Resumes: report.Resumes}
	if size.live > 0 {
		want.LiveDigests = []uint32{w.digest(c, v.Volume, plan.From)}
	}
	if size.behind > 0 {
		want.BehindDigests = []uint32{w.digest(c, v.Volume, 0)}
	}
	if fmt.Sprint(report) != fmt.Sprint(want) {
		t.Errorf("tails report %+v, want %+v", report, want)
	}
	return quantile(took, 0.99)
}

// digest is what a tail makes of the log from an LSN on, as the leader's engine has
// it.
func (w *steadyWriter) digest(c *cluster, volume uint64, from pinetree.LSN) uint32 {
	w.t.Helper()
	stream, err := c.reads(c.nodes[0]).Tail(w.t.Context(), &wirepb.TailRequest{
		Volume: volume, From: uint64(from), Options: &wirepb.ReadOptions{Level: wirepb.ReadLevel_STALE, MinLsn: uint64(w.at)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	digest := uint32(0)
	for {
		r, err := stream.Recv()
		if isEOF(err) {
			return digest
		}
		if err != nil {
			w.t.Fatal(err)
		}
		for _, encoded := range r.Batches {
			b, _, err := storepb.DecodeBatch(encoded)
			if err != nil {
				w.t.Fatal(err)
			}
			digest = crc32.Update(digest, storepb.Castagnoli, b.Encoded[:storepb.BatchHeaderBytes])
		}
	}
}
