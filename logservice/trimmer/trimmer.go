// Package trimmer keeps of the volumes of a node no more than is to be kept. It
// looks at all of them every few seconds, remembers how they grew, and where this
// node leads has package trimming decide and puts the decision into the log; every
// replica truncates when it replays that. It also carries out the orders of
// operators: settings, slots, and truncation by hand. It knows no engine.
package trimmer

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/logservice/trimming"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const (
	// DefaultEvery is how often the volumes are looked at, unless it is configured.
	DefaultEvery = 2 * time.Second

	// maxSteps bounds the changes that are on their way into logs at once, and
	// stepTimeout how long one is waited for.
	maxSteps    = 8
	stepTimeout = 5 * time.Second
)

// Config is what a Trimmer is made of.
type Config struct {
	Host *host.Host
	// Clock reads CLOCK_BOOTTIME; ages count while the machine sleeps, too.
	Clock  func() lease.Instant
	Every  time.Duration // DefaultEvery when zero
	Step   trimming.Step // trimming.DefaultStep when zero
	Logger *slog.Logger
}

// Trimmer looks after the volumes of a node. Its methods may be called by any
// goroutine.
type Trimmer struct {
	cfg Config

	mu      sync.Mutex // held while a position is read and noted, so that none is noted late
	volumes map[pinetree.VolumeID]*volume
}

// volume is what is remembered of a volume. It is guarded by the trimmer's lock.
type volume struct {
	group     *host.Group
	history   trimming.History
	truncated pinetree.LSN
	stepped   time.Duration // when that was seen to rise, or the volume was first seen
	failed    error         // why the last step was not carried out
	round     int
}

// New makes a trimmer, which does nothing by itself before Run.
func New(cfg Config) *Trimmer {
	if cfg.Every == 0 {
		cfg.Every = DefaultEvery
	}
	if cfg.Step == (trimming.Step{}) {
		cfg.Step = trimming.DefaultStep
	}
	return &Trimmer{cfg: cfg, volumes: map[pinetree.VolumeID]*volume{}}
}

// Run looks after the volumes until ctx ends, which is no error, and returns when
// nothing of it is under way any more.
func (t *Trimmer) Run(ctx context.Context) error {
	ticker := time.NewTicker(t.cfg.Every)
	defer ticker.Stop()
	for round := 1; ; round++ {
		t.carryOut(ctx, t.look(round))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (t *Trimmer) now() time.Duration { return time.Duration(t.cfg.Clock()) }

// step is a decision that is to be carried out.
type step struct {
	id     pinetree.VolumeID
	group  *host.Group
	change *storepb.ChangeVolume
	trimming.Decision
}

// look takes note of where all volumes are, and decides about those whose leader is
// here.
func (t *Trimmer) look(round int) []step {
	var due []step
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for _, g := range t.cfg.Host.Groups() {
		applied, flushed := g.Replayed()
		leads := g.Leading() == nil
		for id, at := range applied.Volumes {
			v := t.note(id, at, now)
			v.group, v.round = g, round
			if !leads {
				continue
			}
			d := v.history.Decide(trimming.Question{Volume: at, Flushed: flushed.Volumes[id].LSN, Now: now})
			if t.cfg.Step.Worth(d, at, now-v.stepped) {
				due = append(due, step{id, g, d.Change(id), d})
			}
		}
	}
	for id, v := range t.volumes {
		if v.round != round {
			delete(t.volumes, id)
		}
	}
	return due
}

// note takes note of where a volume is. The lock must be held.
func (t *Trimmer) note(id pinetree.VolumeID, at pinetree.VolumePosition, now time.Duration) *volume {
	v := t.volumes[id]
	if v == nil {
		v = &volume{stepped: now, truncated: at.Truncated}
		t.volumes[id] = v
	}
	if at.Truncated != v.truncated {
		v.truncated, v.stepped, v.failed = at.Truncated, now, nil
	}
	v.history.Look(now, at)
	return v
}

// carryOut puts decisions into the logs of their groups, and waits for them.
func (t *Trimmer) carryOut(ctx context.Context, steps []step) {
	var under errgroup.Group
	under.SetLimit(maxSteps)
	for _, s := range steps {
		under.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, stepTimeout)
			defer cancel()
			t.ended(s, s.group.Control(ctx, control(s.change)))
			return nil
		})
	}
	_ = under.Wait() // no step returns an error
}

func control(c *storepb.ChangeVolume) *storepb.Control {
	return &storepb.Control{Op: &storepb.Control_ChangeVolume{ChangeVolume: c}}
}

// ended takes note of what came of a step.
func (t *Trimmer) ended(s step, err error) {
	t.mu.Lock()
	if v := t.volumes[s.id]; v != nil {
		v.failed = err
	}
	t.mu.Unlock()
	for _, slot := range s.Lost {
		if err == nil {
			t.cfg.Logger.Warn("a slot is lost: more log would have to be kept for it than it may hold", "volume", s.id, "slot", slot.Name, "lsn", slot.LSN, "max_bytes", slot.MaxBytes)
		}
	}
	if err != nil {
		t.cfg.Logger.Info("a volume is not truncated", "volume", s.id, "to", s.To, "err", err)
	}
}

// Explain tells what is kept of a volume, and why, as this replica sees it; false
// when it is not here.
func (t *Trimmer) Explain(id pinetree.VolumeID) (Kept, bool) {
	g, err := t.cfg.Host.Volume(id)
	if err != nil {
		return Kept{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	applied, flushed := g.Replayed()
	at, there := applied.Volumes[id]
	if !there {
		return Kept{}, false
	}
	v := t.note(id, at, now)
	return t.explain(v, trimming.Question{Volume: at, Flushed: flushed.Volumes[id].LSN, Now: now}), true
}

// Kept is what is kept of a volume, and why.
type Kept struct {
	Position pinetree.VolumePosition
	Reason   trimming.Reason
	Because  string
}

func (t *Trimmer) explain(v *volume, q trimming.Question) Kept {
	d := v.history.Decide(q)
	k := Kept{q.Volume, d.Reason, d.Because}
	switch {
	case d.To > 0 && v.failed != nil:
		k.Reason, k.Because = "failed", "the last step was not carried out: "+v.failed.Error()
	case d.To > 0 && !t.cfg.Step.Worth(d, q.Volume, q.Now-v.stepped):
		k.Reason, k.Because = "step", "too little would be given back yet; "+d.Because
	case d.To > 0:
		k.Reason, k.Because = "step", "more goes at once; "+d.Because
	}
	return k
}
