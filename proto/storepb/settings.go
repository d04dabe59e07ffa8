package storepb

import (
	"time"

	"github.com/pinetree-db/pinetree"
)

// StoreSettings is the stored form of settings; nil when nothing is set.
func StoreSettings(s pinetree.VolumeSettings) *VolumeSettings {
	if s == (pinetree.VolumeSettings{}) {
		return nil
	}
	return &VolumeSettings{
		KeepMs: uint64(s.KeepFor.Milliseconds()), KeepBytes: uint64(s.KeepBytes), MaxBytes: uint64(s.MaxBytes),
		IngestRate: uint64(s.IngestRate), ReadRate: uint64(s.ReadRate), MaxTails: uint32(s.MaxTails), MetaBytes: uint64(s.MetaBytes),
	}
}

// Read is what StoreSettings was given.
func (x *VolumeSettings) Read() pinetree.VolumeSettings {
	return pinetree.VolumeSettings{
		KeepFor: time.Duration(x.GetKeepMs()) * time.Millisecond, KeepBytes: int64(x.GetKeepBytes()), MaxBytes: int64(x.GetMaxBytes()),
		IngestRate: int64(x.GetIngestRate()), ReadRate: int64(x.GetReadRate()), MaxTails: int(x.GetMaxTails()), MetaBytes: int64(x.GetMetaBytes()),
	}
}

// StoreSlot is the stored form of a slot.
func StoreSlot(s pinetree.Slot) *Slot {
	return &Slot{Name: s.Name, Lsn: uint64(s.LSN), MaxBytes: uint64(s.MaxBytes), Lost: s.Lost}
}

// Read is what StoreSlot was given.
func (x *Slot) Read() pinetree.Slot {
	return pinetree.Slot{Name: x.GetName(), LSN: pinetree.LSN(x.GetLsn()), MaxBytes: int64(x.GetMaxBytes()), Lost: x.GetLost()}
}
