package quota

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinetree-db/pinetree"
)

const (
	// glance is how often somebody who waits looks at the settings again.
	glance = 250 * time.Millisecond
	// maxReadWait bounds the wait of a read. More only makes a queue.
	maxReadWait = 200 * time.Millisecond
	// sweepAt is at how many volumes those that owe nothing are forgotten.
	sweepAt = 1024
)

// Position is where a volume is now, with its settings.
type Position func() pinetree.VolumePosition

// Keeper keeps volumes within their settings on one node. Any goroutine may call
// it, and register it as a collector of what it has counted.
type Keeper struct {
	waited  *prometheus.CounterVec
	refused *prometheus.CounterVec

	mu      sync.Mutex
	volumes map[pinetree.VolumeID]*usage
	turns   map[pinetree.VolumeID]*turns // of those that are read just now
}

// usage is what a volume with settings has used lately.
type usage struct {
	ingest, reads bucket
}

// NewKeeper makes a keeper that knows of nobody's use.
func NewKeeper() *Keeper {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "pinetree", Name: name, Help: help}, []string{"of", "volume"})
	}
	return &Keeper{
		waited:  counter("throttled_seconds_total", "Time for which the settings of a volume made its appends (of: ingest) and reads (of: reads) wait, and other reads of much data of it (of: turns)."),
		refused: counter("over_quota_total", "Appends (of: bytes) and reads (of: reads) that the settings of a volume have refused."),
		volumes: map[pinetree.VolumeID]*usage{},
		turns:   map[pinetree.VolumeID]*turns{},
	}
}

// Describe implements prometheus.Collector.
func (k *Keeper) Describe(to chan<- *prometheus.Desc) {
	k.waited.Describe(to)
	k.refused.Describe(to)
}

// Collect implements prometheus.Collector.
func (k *Keeper) Collect(to chan<- prometheus.Metric) {
	k.waited.Collect(to)
	k.refused.Collect(to)
}

// Ingest lets an append of so many bytes in, once the volume's ingest rate allows
// it; waiting hears from time to time for how much longer it will be. It reports
// pinetree.ErrOverQuota while the volume keeps more log than it may, and the
// context's error.
func (k *Keeper) Ingest(ctx context.Context, id pinetree.VolumeID, at Position, bytes int, waiting func(time.Duration)) error {
	for {
		now := at()
		if limit := now.Settings.MaxBytes; limit > 0 && now.Kept() >= limit {
			k.refused.WithLabelValues("bytes", label(id)).Inc()
			return fmt.Errorf("%w: volume %d keeps %d bytes of log, and its max_bytes is %d; truncate it, drop a slot that holds it, or raise the limit",
				pinetree.ErrOverQuota, id, now.Kept(), limit)
		}
		rate := now.Settings.IngestRate
		if rate <= 0 {
			return nil
		}
		// Nothing is used before the wait is over, so that a new rate counts at once.
		wait, taken := k.take(id, func(u *usage) *bucket { return &u.ingest }, int64(bytes), perSecond(rate), 0)
		if taken {
			return nil
		}
		waiting(wait)
		if err := k.wait(ctx, id, "ingest", min(wait, glance)+time.Millisecond); err != nil {
			return err
		}
	}
}

// Read lets so many reads of a volume begin, once its read rate allows it. It
// reports pinetree.ErrOverQuota instead of waiting for long, and the context's
// error.
func (k *Keeper) Read(ctx context.Context, id pinetree.VolumeID, rate int64, reads int) error {
	if rate <= 0 || reads == 0 {
		return nil
	}
	wait, taken := k.take(id, func(u *usage) *bucket { return &u.reads }, int64(reads), perSecond(rate), maxReadWait)
	if !taken {
		k.refused.WithLabelValues("reads", label(id)).Inc()
		return fmt.Errorf("%w: volume %d is read more often than its read_rate of %d a second allows on each node; this read would have waited %v; read less, read from other replicas, or raise the limit",
			pinetree.ErrOverQuota, id, rate, wait.Round(time.Millisecond))
	}
	if wait == 0 {
		return nil
	}
	return k.wait(ctx, id, "reads", wait)
}

// take takes from one of a volume's buckets.
func (k *Keeper) take(id pinetree.VolumeID, of func(*usage) *bucket, amount int64, rate perSecond, patience time.Duration) (time.Duration, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	u := k.volumes[id]
	if u == nil {
		if len(k.volumes) >= sweepAt {
			k.sweep()
		}
		u = new(usage)
		k.volumes[id] = u
	}
	return of(u).take(time.Now(), amount, rate, patience)
}

// sweep forgets those that have used nothing for a while. Who is forgotten too
// early has a little more.
func (k *Keeper) sweep() {
	old := time.Now().Add(-time.Minute)
	for id, u := range k.volumes {
		if u.ingest.at.Before(old) && u.reads.at.Before(old) {
			delete(k.volumes, id)
		}
	}
}

// wait waits and counts it.
func (k *Keeper) wait(ctx context.Context, id pinetree.VolumeID, what string, d time.Duration) error {
	began := time.Now()
	defer func() { k.waited.WithLabelValues(what, label(id)).Add(time.Since(began).Seconds()) }()
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func label(id pinetree.VolumeID) string { return fmt.Sprint(uint64(id)) }
