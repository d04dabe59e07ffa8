package trimmer

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinetree-db/pinetree"
)

var (
	logBytes  = prometheus.NewDesc("pinetree_volume_log_bytes", "About how many bytes of a volume's log this replica keeps.", []string{"volume"}, nil)
	truncated = prometheus.NewDesc("pinetree_volume_truncated_lsn", "The LSN up to which a volume's log and old versions are gone.", []string{"volume"}, nil)
	lostSlots = prometheus.NewDesc("pinetree_volume_lost_slots", "Slots of a volume that are over their bound and hold nothing any more.", []string{"volume"}, nil)
	held      = prometheus.NewDesc("pinetree_volume_log_held", "1 for what keeps a volume's log from being truncated further.", []string{"volume", "reason"}, nil)
)

// Describe implements prometheus.Collector.
func (t *Trimmer) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{logBytes, truncated, lostSlots, held} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (t *Trimmer) Collect(to chan<- prometheus.Metric) {
	for _, g := range t.cfg.Host.Groups() {
		applied, _ := g.Replayed()
		for id := range applied.Volumes {
			if k, here := t.Explain(id); here {
				k.collect(id, to)
			}
		}
	}
}

func (k Kept) collect(id pinetree.VolumeID, to chan<- prometheus.Metric) {
	name := strconv.FormatUint(uint64(id), 10)
	lost := 0
	for _, s := range k.Position.Slots {
		if s.Lost {
			lost++
		}
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{name}, labels...)...)
	}
	gauge(logBytes, float64(k.Position.Kept()))
	gauge(truncated, float64(k.Position.Truncated))
	gauge(lostSlots, float64(lost))
	gauge(held, 1, string(k.Reason))
}
