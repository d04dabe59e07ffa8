package trimmer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/logservice/host"
	"github.com/pinetree-db/pinetree/logservice/trimming"
	"github.com/pinetree-db/pinetree/proto/storepb"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// maxSlotName bounds the name of a slot, in bytes.
const maxSlotName = 64

// Service is the volumes' settings, slots and truncation by hand, on the wire. It
// answers where the volume's group is led from, and names the leader elsewhere.
type Service struct {
	wirepb.UnimplementedVolumesServer
	Trimmer *Trimmer
}

// led is a volume whose leader is here.
type led struct {
	id    pinetree.VolumeID
	group *host.Group
}

func (s *Service) find(id uint64) (led, error) {
	g, err := s.Trimmer.cfg.Host.Volume(pinetree.VolumeID(id))
	if err == nil {
		err = g.Leading()
	}
	return led{pinetree.VolumeID(id), g}, err
}

// at is what is replayed of the volume.
func (l led) at() pinetree.VolumePosition {
	applied, _ := l.group.Replayed()
	return applied.Volumes[l.id]
}

// change puts a change into the log. It is replayed here on return.
func (l led) change(ctx context.Context, c *storepb.ChangeVolume) error {
	c.Volume = uint64(l.id)
	return l.group.Control(ctx, control(c))
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", pinetree.ErrBadBatch, fmt.Sprintf(format, args...))
}

// SetVolume implements wirepb.VolumesServer.
func (s *Service) SetVolume(ctx context.Context, q *wirepb.SetVolumeRequest) (*wirepb.SetVolumeResponse, error) {
	v, err := s.find(q.Volume)
	if err != nil {
		return nil, err
	}
	settings, err := storedSettings(q.Settings)
	if err != nil {
		return nil, err
	}
	return &wirepb.SetVolumeResponse{}, v.change(ctx, &storepb.ChangeVolume{Settings: settings})
}

// storedSettings are settings from the wire, which are never nil.
func storedSettings(w *wirepb.VolumeSettings) (*storepb.VolumeSettings, error) {
	const most = 1 << 62
	const longest = uint64(100 * 365 * 24 * time.Hour / time.Millisecond)
	switch {
	case w.GetKeepMs() > longest:
		return nil, refuse("keep for %d ms; a hundred years are the most", w.GetKeepMs())
	case max(w.GetKeepBytes(), w.GetMaxBytes(), w.GetIngestRate(), w.GetReadRate(), w.GetMetaBytes()) > most:
		return nil, refuse("a setting is more than %d; leave it out to have no limit", uint64(most))
	}
	return &storepb.VolumeSettings{
		KeepMs: w.GetKeepMs(), KeepBytes: w.GetKeepBytes(), MaxBytes: w.GetMaxBytes(), IngestRate: w.GetIngestRate(),
		ReadRate: w.GetReadRate(), MaxTails: w.GetMaxTails(), MetaBytes: w.GetMetaBytes(),
	}, nil
}

// WireSettings are the settings of a volume on the wire.
func WireSettings(v pinetree.VolumeSettings) *wirepb.VolumeSettings {
	s := storepb.StoreSettings(v)
	return &wirepb.VolumeSettings{
		KeepMs: s.GetKeepMs(), KeepBytes: s.GetKeepBytes(), MaxBytes: s.GetMaxBytes(), IngestRate: s.GetIngestRate(),
		ReadRate: s.GetReadRate(), MaxTails: s.GetMaxTails(), MetaBytes: s.GetMetaBytes(),
	}
}

// WireSlots are the slots of a volume on the wire.
func WireSlots(slots []pinetree.Slot) []*wirepb.Slot {
	var list []*wirepb.Slot
	for _, s := range slots {
		list = append(list, &wirepb.Slot{Name: s.Name, Lsn: uint64(s.LSN), MaxBytes: uint64(s.MaxBytes), Lost: s.Lost})
	}
	return list
}

// TruncateVolume implements wirepb.VolumesServer. What was just written is waited
// for until it is surely on this replica's disk.
func (s *Service) TruncateVolume(ctx context.Context, q *wirepb.TruncateVolumeRequest) (*wirepb.TruncateVolumeResponse, error) {
	v, err := s.find(q.Volume)
	if err != nil {
		return nil, err
	}
	if q.Lsn == 0 {
		return nil, refuse("truncate up to 0/0; name the LSN up to which the log and the old versions are to go")
	}
	if err := v.flushed(ctx, min(pinetree.LSN(q.Lsn), v.at().LSN)); err != nil {
		return nil, err
	}
	d := s.Trimmer.order(v, pinetree.LSN(q.Lsn))
	if c := d.Change(v.id); c != nil {
		if err := v.change(ctx, c); err != nil {
			return nil, err
		}
	}
	answer := &wirepb.TruncateVolumeResponse{Truncated: uint64(v.at().Truncated)}
	if answer.Truncated < q.Lsn {
		answer.KeptBecause = d.Because
		if d.To == v.at().LSN {
			answer.KeptBecause = "the log ends there"
		}
	}
	return answer, nil
}

// order decides what an operator's order comes to.
func (t *Trimmer) order(v led, to pinetree.LSN) trimming.Decision {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	applied, flushed := v.group.Replayed()
	at := applied.Volumes[v.id]
	return t.note(v.id, at, now).history.Decide(trimming.Question{Volume: at, Flushed: flushed.Volumes[v.id].LSN, Now: now, Order: to})
}

// flushPatience is how long an order waits for the engine's disk, and flushLook how
// often it looks.
const flushPatience, flushLook = 3 * time.Second, 20 * time.Millisecond

// flushed waits until the volume is flushed up to an LSN, or for a while.
func (l led) flushed(ctx context.Context, lsn pinetree.LSN) error {
	patience, cancel := context.WithTimeout(ctx, flushPatience)
	defer cancel()
	for {
		if _, flushed := l.group.Replayed(); flushed.Volumes[l.id].LSN >= lsn {
			return nil
		}
		select {
		case <-time.After(flushLook):
		case <-patience.Done():
			return ctx.Err() // when only the patience is over, less is truncated
		}
	}
}

// PutSlot implements wirepb.VolumesServer. Without an LSN the slot is where it was,
// or holds all that there is.
func (s *Service) PutSlot(ctx context.Context, q *wirepb.PutSlotRequest) (*wirepb.PutSlotResponse, error) {
	v, err := s.find(q.Volume)
	if err != nil {
		return nil, err
	}
	slot := pinetree.Slot{Name: q.Slot.GetName(), LSN: pinetree.LSN(q.Slot.GetLsn()), MaxBytes: int64(min(q.Slot.GetMaxBytes(), 1<<62))}
	if err := v.check(ctx, &slot); err != nil {
		return nil, err
	}
	if err := v.change(ctx, &storepb.ChangeVolume{PutSlots: []*storepb.Slot{storepb.StoreSlot(slot)}}); err != nil {
		return nil, err
	}
	after := v.at()
	now, there := find(after.Slots, slot.Name)
	if !there || now.Lost {
		// The log was truncated, or the slot given up, while this was on its way.
		return nil, &pinetree.TruncatedError{Volume: v.id, Asked: slot.LSN, First: after.First()}
	}
	return &wirepb.PutSlotResponse{Slot: WireSlots([]pinetree.Slot{now})[0]}, nil
}

// check refuses a slot that cannot be, and completes one that names no LSN.
func (l led) check(ctx context.Context, slot *pinetree.Slot) error {
	at := l.at()
	old, there := find(at.Slots, slot.Name)
	switch {
	case slot.LSN > 0:
	case there:
		slot.LSN = old.LSN
	default:
		slot.LSN = at.First()
	}
	marks, err := l.group.Watermarks(ctx, l.id)
	switch {
	case err != nil:
		return err
	case !goodName(slot.Name):
		return refuse("a slot is called by 1 to %d letters, digits, dots, dashes and underscores, not %q", maxSlotName, slot.Name)
	case slot.LSN > marks.Committed:
		return refuse("slot %s at %s, and the log of volume %d ends at %s", slot.Name, slot.LSN, l.id, marks.Committed)
	case there && old.Lost, slot.LSN < at.First():
		return &pinetree.TruncatedError{Volume: l.id, Asked: slot.LSN, First: at.First()}
	case !there && len(at.Slots) >= pinetree.MaxSlots:
		return fmt.Errorf("%w: volume %d has %d slots, and may have no more; drop one that nobody reads by", pinetree.ErrOverQuota, l.id, len(at.Slots))
	}
	return nil
}

func find(slots []pinetree.Slot, name string) (pinetree.Slot, bool) {
	for _, s := range slots {
		if s.Name == name {
			return s, true
		}
	}
	return pinetree.Slot{}, false
}

func goodName(name string) bool {
	odd := strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !slices.Contains([]rune("._-"), r)
	})
	return !odd && name != "" && len(name) <= maxSlotName
}

// DropSlot implements wirepb.VolumesServer.
func (s *Service) DropSlot(ctx context.Context, q *wirepb.DropSlotRequest) (*wirepb.DropSlotResponse, error) {
	v, err := s.find(q.Volume)
	if err != nil {
		return nil, err
	}
	if _, there := find(v.at().Slots, q.Name); !there {
		return &wirepb.DropSlotResponse{}, nil
	}
	return &wirepb.DropSlotResponse{}, v.change(ctx, &storepb.ChangeVolume{DropSlots: []string{q.Name}})
}
