package logservice

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/transport"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/raftlog"
)

// metrics is what a node counts. All of it may be called by any goroutine.
type metrics struct {
	batches, records, bytes, plain prometheus.Counter
	reads                          *prometheus.CounterVec
	grants                         prometheus.Counter
	fsync                          prometheus.Histogram
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "pinetree", Name: name, Help: help})
	}
	return &metrics{
		batches: counter("received_batches_total", "Batches received from writers, repeated ones included."),
		records: counter("received_records_total", "Records in the batches received from writers."),
		bytes:   counter("received_bytes_total", "Encoded bytes of the batches received from writers."),
		plain:   counter("received_plain_bytes_total", "The same before writers compressed them."),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pinetree", Name: "reads_total", Help: "Reads answered, by the level at which they were answered.",
		}, []string{"level"}),
		grants: counter("grants_total", "Lease grants received from the cluster manager."),
		fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "pinetree", Name: "raftlog_fsync_seconds", Help: "Time of each synced write to the raft log, probes included.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
	}
}

// written tells what a store gives to its files, if the store itself counts.
func written(store raftlog.Store) []prometheus.Collector {
	counter, ok := store.(raftlog.Counter)
	if !ok {
		return nil
	}
	counted := func(name, help string, count func(raftlog.Written) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "pinetree", Name: name, Help: help},
			func() float64 { return float64(count(counter.Written())) })
	}
	return []prometheus.Collector{
		counted("raftlog_written_bytes_total", "Bytes that the raft log store has given to its files.", func(w raftlog.Written) uint64 { return w.Bytes }),
		counted("raftlog_syncs_total", "Calls by which the raft log store made files and directories durable.", func(w raftlog.Written) uint64 { return w.Syncs }),
	}
}

// kept shows how much log a store keeps, and as a label why it does not let the
// oldest file go.
type kept struct {
	store        raftlog.Keeper
	bytes, cause *prometheus.Desc
}

func newKept(store raftlog.Store) []prometheus.Collector {
	keeper, ok := store.(raftlog.Keeper)
	if !ok {
		return nil
	}
	return []prometheus.Collector{kept{
		store: keeper,
		bytes: prometheus.NewDesc("pinetree_raftlog_bytes", "Bytes in the raft log's files.", nil, nil),
		cause: prometheus.NewDesc("pinetree_raftlog_held", "1 while something keeps the oldest file of the raft log; reason says what.", []string{"reason"}, nil),
	}}
}

// Describe implements prometheus.Collector.
func (k kept) Describe(to chan<- *prometheus.Desc) {
	to <- k.bytes
	to <- k.cause
}

// Collect implements prometheus.Collector.
func (k kept) Collect(to chan<- prometheus.Metric) {
	bytes, why := k.store.Kept()
	to <- prometheus.MustNewConstMetric(k.bytes, prometheus.GaugeValue, float64(bytes))
	if why != "" {
		to <- prometheus.MustNewConstMetric(k.cause, prometheus.GaugeValue, 1, why)
	}
}

// snapshotCounts are what the node has sent and taken of snapshots.
func snapshotCounts(stats func() transport.SnapshotStats) []prometheus.Collector {
	total := func(name, help string, value func(transport.SnapshotStats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "pinetree", Name: name, Help: help},
			func() float64 { return float64(value(stats())) })
	}
	return []prometheus.Collector{
		total("snapshots_sent_total", "Snapshots that another node has taken.", func(s transport.SnapshotStats) uint64 { return s.Sent }),
		total("snapshots_send_failures_total", "Snapshots that another node did not take.", func(s transport.SnapshotStats) uint64 { return s.SendFailed }),
		total("snapshots_taken_total", "Snapshots taken from other nodes.", func(s transport.SnapshotStats) uint64 { return s.Taken }),
		total("snapshots_take_failures_total", "Snapshots that began to arrive and were not taken.", func(s transport.SnapshotStats) uint64 { return s.TakeFailed }),
		total("snapshots_sent_bytes_total", "Bytes of snapshots sent.", func(s transport.SnapshotStats) uint64 { return s.SentBytes }),
		total("snapshots_received_bytes_total", "Bytes of snapshots received.", func(s transport.SnapshotStats) uint64 { return s.ReceivedBytes }),
	}
}

// register adds the metrics, and gauges of the node's replicas, to a registry.
func (m *metrics) register(registry prometheus.Registerer, n *Node) error {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "pinetree", Name: name, Help: help}, value)
	}
	for _, c := range append(append(append(written(n.cfg.Log), newKept(n.cfg.Log)...), snapshotCounts(n.network.SnapshotStats)...),
		m.batches, m.records, m.bytes, m.plain, m.reads, m.grants, m.fsync, n.quota, n.trimmer,
		gauge("replicas", "Replicas on this node.", func() float64 { return float64(len(n.host.Groups())) }),
		gauge("meta_watches", "Watches of metadata that the node serves.", func() float64 { return float64(n.meta.Watches()) }),
		gauge("tails", "Tails of logs that are open on this node.", func() float64 { return float64(n.host.Tails().Open) }),
		gauge("tail_ring_bytes", "Memory that keeps the newest log for tails.", func() float64 { return float64(n.host.Tails().RingBytes) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "pinetree", Name: "tail_catch_up_bytes_total", Help: "Bytes sent to tails that were behind the newest log in memory."},
			func() float64 { return float64(n.host.Tails().CaughtUp) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "pinetree", Name: "tail_read_bytes_total", Help: "Bytes read from engines for tails that were behind; those at about the same place share them."},
			func() float64 { return float64(n.host.Tails().Read) }),
		gauge("raftlog_free_bytes", "What is left to the raft log on its disk; zero when the store does not know.", func() float64 {
			space, _ := n.host.Space()
			return float64(space.Free)
		}),
		gauge("raftlog_space_level", "0 plenty, 1 warn, 2 writers are throttled, 3 writers are refused, 4 the reserve is half used.", func() float64 {
			space, _ := n.host.Space()
			return float64(space.Level)
		}),
		gauge("apply_lag_bytes", "Bytes that are committed and not replayed yet, of all replicas of this node.", func() float64 { return float64(n.host.Lag().Bytes()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "pinetree", Name: "apply_lag_waits_total", Help: "How often a leader proposed less, or a follower let an append wait, because too much is not replayed yet."},
			func() float64 { return float64(n.host.Lag().Waits()) }),
		gauge("raftlog_fsync_age_seconds", "Time since the last fsync of the raft log completed.", func() float64 { return n.host.Disk().FsyncAge.Seconds() }),
		gauge("raftlog_fsync_pending_seconds", "For how long the write under way runs; zero when there is none.", func() float64 { return n.host.Disk().Pending.Seconds() }),
	) {
		if err := registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// received counts a batch of a writer.
func (m *metrics) received(b pinetree.Batch) {
	m.batches.Inc()
	m.records.Add(float64(b.Count))
	m.bytes.Add(float64(b.Size()))
	m.plain.Add(float64(storepb.PlainSize(b)))
}

// read counts an answered read.
func (m *metrics) read(level pinetree.ReadLevel) { m.reads.WithLabelValues(level.String()).Inc() }

// timedLog measures the synced writes of a raft log store.
type timedLog struct {
	raftlog.Store
	fsync prometheus.Observer
}

// timed measures a raft log store, without hiding what it knows of its disk.
func timed(store raftlog.Store, fsync prometheus.Observer) raftlog.Store {
	measured := timedLog{store, fsync}
	if spacer, knows := store.(raftlog.Spacer); knows {
		return struct {
			timedLog
			raftlog.Spacer
		}{measured, spacer}
	}
	return measured
}

// Save implements raftlog.Store.
func (l timedLog) Save(updates []raftlog.Update) error {
	began := time.Now()
	err := l.Store.Save(updates)
	for _, u := range updates {
		if u.MustSync {
			l.fsync.Observe(time.Since(began).Seconds())
			break
		}
	}
	return err
}

// Probe implements raftlog.Store.
func (l timedLog) Probe() error {
	began := time.Now()
	err := l.Store.Probe()
	l.fsync.Observe(time.Since(began).Seconds())
	return err
}
