package keeping

import (
	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

type settingsJSON struct {
	KeepMS     uint64 `json:"keep_ms"`
	KeepBytes  uint64 `json:"keep_bytes"`
	MaxBytes   uint64 `json:"max_bytes"`
	IngestRate uint64 `json:"ingest_rate"`
	ReadRate   uint64 `json:"read_rate"`
	MaxTails   uint32 `json:"max_tails"`
	MetaBytes  uint64 `json:"meta_bytes"`
}

func settingsOf(s *wirepb.VolumeSettings) settingsJSON {
	return settingsJSON{s.GetKeepMs(), s.GetKeepBytes(), s.GetMaxBytes(), s.GetIngestRate(), s.GetReadRate(), s.GetMaxTails(), s.GetMetaBytes()}
}

type slotJSON struct {
	Name     string       `json:"name"`
	LSN      pinetree.LSN `json:"lsn"`
	MaxBytes uint64       `json:"max_bytes"`
	Lost     bool         `json:"lost"`
}

func slotsOf(slots []*wirepb.Slot) []slotJSON {
	list := []slotJSON{}
	for _, s := range slots {
		list = append(list, slotJSON{s.Name, pinetree.LSN(s.Lsn), s.MaxBytes, s.Lost})
	}
	return list
}

type truncatedJSON struct {
	Name        string       `json:"name"`
	Truncated   pinetree.LSN `json:"truncated"`
	KeptBecause string       `json:"kept_because"`
}

// Kept is what is kept of a volume, as JSON.
type Kept struct {
	Truncated   pinetree.LSN `json:"truncated"`
	LogBytes    uint64       `json:"log_bytes"`
	KeptBecause string       `json:"kept_because"`
	Settings    settingsJSON `json:"settings"`
	Slots       []slotJSON   `json:"slots"`
}

func keptOf(s *wirepb.StateResponse) *Kept {
	return &Kept{pinetree.LSN(s.GetWatermarks().GetTruncated()), s.GetLogBytes(), s.GetKeptBecause(), settingsOf(s.GetSettings()), slotsOf(s.GetSlots())}
}
