// Package demo shows the whole of Pinetree on one machine: a cluster of real
// processes, a real PostgreSQL log shipped into it while its leader is killed
// and moved, a replaced writer fenced, and every byte read back from every
// replica and compared. It measures as a compute node would, from outside.
package demo

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/adapter/pgwal"
	"github.com/pinetree-db/pinetree/adapter/pgwal/pgsample"
	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/cmd/internal/localcluster"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

const (
	nodes      = 3
	volumeName = "demo"
	// windowBytes bounds what the writer has appended and not yet heard of, so
	// that it waits during an outage and does not run ahead of it.
	windowBytes = 2 << 20
	// batchBytes makes acknowledgements frequent, so that outages are measured
	// finely.
	batchBytes = 64 << 10
	// stepTimeout bounds the steps before and after shipping.
	stepTimeout = 20 * time.Second
)

// Config says how to run the demo.
type Config struct {
	JSON bool // one object as the last line
	Keep bool // leave the cluster running until interrupted
	Out  io.Writer
}

// demo is one run. It belongs to the goroutine of Run, but for what makeFaults
// does while the feed runs.
type demo struct {
	cfg     Config
	began   time.Time
	dir     string
	names   []string // of the source's segments, along the log
	cluster *localcluster.Cluster
	volume  *wirepb.VolumeInfo
	client  *ship.Client
	acks    acks
	feed    feed
	meter   *cli.Meter
	end     pinetree.LSN // of the log

	faults    faults
	unpaced   time.Time // from here on the feed had no pace
	leads     string
	decisions []*wirepb.Event
}

// Run runs the demo. It returns an error when anything failed or a byte came
// back wrong; what it started is stopped and deleted.
func Run(ctx context.Context, cfg Config) (err error) {
	d := &demo{cfg: cfg, began: time.Now()}
	d.feed.open = make(chan struct{})
	if d.dir, err = os.MkdirTemp("", "pinetree-demo-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	fmt.Fprintln(cfg.Out, "A cluster of real processes on this machine, a real PostgreSQL log, and what can go wrong.")
	var result Result
	err = d.run(ctx, &result)
	if d.cluster != nil {
		defer func() { err = errors.Join(err, d.cluster.Close()) }()
	}
	if err != nil && d.cluster != nil && ctx.Err() == nil {
		err = errors.Join(err, d.cluster.Failure())
	}
	if cfg.JSON {
		line, jsonErr := result.line()
		fmt.Fprintln(cfg.Out, line)
		err = errors.Join(err, jsonErr)
	}
	if err == nil && !result.OK {
		err = errors.New("what was read back is not what was shipped")
	}
	if cfg.Keep && d.cluster != nil && ctx.Err() == nil {
		d.keep(ctx)
	}
	return err
}

// keep leaves the cluster running until the user ends the demo.
func (d *demo) keep(ctx context.Context) {
	fmt.Fprintf(os.Stderr, "\nThe cluster goes on, in %s, until Ctrl-C. Try, in another terminal:\n%s", d.dir, localcluster.Examples(d.cluster.Manager.Addr))
	<-ctx.Done()
}

// run does all steps and fills in the result as far as it gets.
func (d *demo) run(ctx context.Context, r *Result) error {
	if err := d.prepare(ctx, r); err != nil {
		return err
	}
	defer d.client.Close()
	if err := d.ship(ctx, r); err != nil {
		return err
	}
	counts := d.feed.walker.Counts()
	r.Records, r.Bytes = counts.Records, counts.Bytes
	if err := d.fence(ctx, r); err != nil {
		return err
	}
	for _, at := range d.client.Route().Replicas {
		read, err := d.readBack(ctx, at.Node)
		r.Replicas = append(r.Replicas, read)
		if err != nil {
			return err
		}
	}
	if err := d.look(ctx); err != nil {
		return err
	}
	l := d.acks.latencies(d.faults.failover, d.faults.move)
	r.AckP50MS, r.AckP99MS = milliseconds(l.p50), milliseconds(l.p99)
	r.DurationS = float64(time.Since(d.began).Milliseconds()) / 1000
	r.judge()
	_, err := fmt.Fprint(d.cfg.Out, d.summary(r, counts, l))
	return err
}

// prepare unpacks the source, starts the cluster and makes the volume.
func (d *demo) prepare(ctx context.Context, r *Result) error {
	source := filepath.Join(d.dir, "source")
	if err := d.unpack(source, r); err != nil {
		return err
	}
	var err error
	if d.feed.walker, err = pgwal.Open(pgwal.Paths(source), 0); err != nil {
		return err
	}
	d.say("source", "%d segments of PostgreSQL %s's log, %.1f MB, md5 %s", len(d.names), d.feed.walker.Version(), float64(d.feed.walker.Bytes())/1e6, r.SourceMD5)
	if d.cluster, err = localcluster.Start(ctx, localcluster.Config{Dir: filepath.Join(d.dir, "cluster"), Nodes: nodes}); err != nil {
		return err
	}
	d.say("cluster", "%d storage nodes in three zones and a manager with its own etcd, each a process", nodes)
	if err := d.createVolume(ctx); err != nil {
		return err
	}
	d.client, err = ship.Dial(ctx, ship.Config{
		Managers: []string{d.cluster.Manager.Addr}, Volume: volumeName, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	leader, err := d.leader(ctx)
	if err != nil {
		return err
	}
	d.say("volume", "%q in group %d with a replica on every node; node %d was appointed to lead", volumeName, d.volume.Group, leader)
	return nil
}

// createVolume makes the volume as soon as the manager finds that the nodes are
// ready to carry it.
func (d *demo) createVolume(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	for {
		err := d.cluster.Ask(ctx, func(ctx context.Context, m wirepb.ManagerClient) (err error) {
			d.volume, err = m.CreateVolume(ctx, &wirepb.CreateVolumeRequest{Name: volumeName, Format: uint32(pinetree.FormatOpaque), Replicas: nodes})
			return err
		})
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("create the volume: %w", err)
		}
	}
}

// unpack writes the source's segments and takes their md5.
func (d *demo) unpack(dir string, r *Result) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := pgsample.Unpack(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir) // by name, which is along the log
	if err != nil {
		return err
	}
	sum := md5.New()
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		sum.Write(data)
		d.names = append(d.names, e.Name())
	}
	r.SourceMD5 = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// ship feeds the log while the faults are made.
func (d *demo) ship(ctx context.Context, r *Result) (err error) {
	d.feed.writer, err = d.client.OpenWriter(ctx, ship.WriterConfig{
		Base: d.feed.walker.Base(), WindowBytes: windowBytes, BatchBytes: batchBytes, Compress: true, Acked: d.acks.hear,
	})
	if err != nil {
		return err
	}
	d.say("ship", "under compute term %d, paced to %.1f MB/s so that the next steps happen meanwhile", d.feed.writer.Term(), float64(paceBytes)/1e6)
	d.meter = cli.NewMeter(cli.Target{What: "durable", Bytes: d.feed.walker.Bytes()})
	defer func() {
		d.meter.Done(int64(d.acks.last()-d.feed.walker.Base()), err)
		d.meter = nil
	}()
	shipping, both := errgroup.WithContext(ctx)
	shipping.Go(func() error { return d.feed.run(both) })
	shipping.Go(func() error {
		if err := d.makeFaults(both); err != nil {
			return err
		}
		d.unpaced = time.Now()
		close(d.feed.open)
		return nil
	})
	done := make(chan struct{})
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		for {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
				if at := d.acks.last(); at > 0 {
					d.meter.At(int64(at - d.feed.walker.Base()))
				}
			}
		}
	}()
	err = shipping.Wait()
	close(done)
	<-shown
	if err != nil {
		return err
	}
	d.end = d.feed.walker.End()
	r.FailoverGapMS, r.MoveGapMS = d.faults.failover.milliseconds(), d.faults.move.milliseconds()
	r.ShipMBs = d.acks.rate(d.unpaced)
	return nil
}

// fence lets a second writer take the volume over and shows what the first one
// is told.
func (d *demo) fence(ctx context.Context, r *Result) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	second, err := d.client.OpenWriter(ctx, ship.WriterConfig{})
	if err != nil {
		return fmt.Errorf("open a second writer: %w", err)
	}
	first := d.feed.writer
	late := pinetree.Record{Prev: d.end, LSN: d.end + 8, Payload: []byte("too late")}
	err = first.Append(ctx, late)
	if err == nil {
		err = first.WaitDurable(ctx, late.LSN)
	}
	switch {
	case err == nil:
		return fmt.Errorf("compute term %d is open, and a record of term %d was acknowledged", second.Term(), first.Term())
	case !errors.Is(err, pinetree.ErrStaleComputeTerm):
		return fmt.Errorf("the replaced writer got the wrong answer: %w", err)
	}
	r.FencedError = err.Error()
	d.say("fence", "a second writer opens compute term %d; the first one appends once more and is told: %v", second.Term(), err)
	if err := first.Close(); err != nil && !errors.Is(err, pinetree.ErrStaleComputeTerm) {
		return err
	}
	return second.Close()
}

// look asks the manager how it ended and what it decided.
func (d *demo) look(ctx context.Context) error {
	return d.cluster.Ask(ctx, func(ctx context.Context, m wirepb.ManagerClient) error {
		leases, err := m.ListLeases(ctx, &wirepb.ListLeasesRequest{})
		if err != nil {
			return err
		}
		for _, l := range leases.Leases {
			if l.Group == d.volume.Group {
				d.leads = fmt.Sprintf("node %d, appointment %d, raft term %d, lease renewed %d times", l.Node, l.Appointment, l.RaftTerm, l.Grants)
			}
		}
		events, err := m.ListEvents(ctx, &wirepb.ListEventsRequest{Limit: 100})
		d.decisions = events.GetEvents()
		return err
	})
}

// say tells what happens, beside the progress bar when there is one.
func (d *demo) say(what, format string, args ...any) {
	line := fmt.Sprintf("%7.2f s  %-9s %s", time.Since(d.began).Seconds(), what, fmt.Sprintf(format, args...))
	if d.meter != nil && cli.Terminal(os.Stderr) {
		d.meter.Note("%s", line)
		return
	}
	fmt.Fprintln(d.cfg.Out, line)
}
