package dump

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/meta"
)

// groupDump is a group's replayed state.
type groupDump struct {
	Group   pinetree.GroupID   `json:"group"`
	Index   pinetree.RaftIndex `json:"index"`
	Term    pinetree.RaftTerm  `json:"raft_term"`
	Volumes []volumeDump       `json:"volumes"`
}

type volumeDump struct {
	Volume    pinetree.VolumeID    `json:"volume"`
	Format    string               `json:"format"`
	Base      pinetree.LSN         `json:"base"`
	Truncated pinetree.LSN         `json:"truncated"`
	LSN       pinetree.LSN         `json:"lsn"`
	Term      pinetree.ComputeTerm `json:"compute_term"`
	Metadata  metaDump             `json:"metadata"`
}

// metaDump is a volume's metadata.
type metaDump struct {
	Revision  pinetree.MetaRevision `json:"revision"`
	Compacted pinetree.MetaRevision `json:"compacted"` // the oldest that can be read
	Bytes     int64                 `json:"bytes"`     // history included
	Keys      []metaItem            `json:"keys"`
	History   []metaItem            `json:"history,omitempty"` // after Compacted, in order
}

// metaItem is a key, or what a revision made of it.
type metaItem struct {
	item     meta.Item
	Key      cli.Bytes             `json:"key"`
	Value    *cli.Bytes            `json:"value,omitempty"`
	Created  pinetree.MetaRevision `json:"created,omitempty"`
	Modified pinetree.MetaRevision `json:"modified"`
	Version  uint64                `json:"version,omitempty"`
	Deleted  bool                  `json:"deleted,omitempty"`
}

func itemOf(c meta.Change) metaItem {
	i := metaItem{item: c.Item, Key: cli.BytesOf(c.Key), Created: c.Created, Modified: c.Modified, Version: c.Version, Deleted: c.Deleted}
	if !c.Deleted {
		i.Value = new(cli.BytesOf(c.Value))
	}
	return i
}

// String is the metadata in short; empty when there never was any.
func (m metaDump) String() string {
	if m.Revision == 0 {
		return ""
	}
	return fmt.Sprintf("revision %d, compacted to %d, %d keys", m.Revision, m.Compacted, len(m.Keys))
}

// readEngine reads what an engine has of all groups.
func (d *dump) readEngine(dir string) (err error) {
	store, err := backends.Look(dir, d.scratch, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("%w; is a node running on it?", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	groups, err := store.Groups()
	if err != nil {
		return err
	}
	for _, id := range groups {
		state, err := store.Open(id)
		if err != nil {
			return err
		}
		g, err := d.group(id, state)
		if err != nil {
			return err
		}
		d.Groups = append(d.Groups, g)
	}
	return nil
}

func (d *dump) group(id pinetree.GroupID, state engine.Engine) (groupDump, error) {
	at := state.Position()
	g := groupDump{Group: id, Index: at.Index, Term: at.Term, Volumes: []volumeDump{}}
	for _, v := range cli.SortedKeys(at.Volumes) {
		p := at.Volumes[v]
		table, err := state.Meta(v)
		if err != nil {
			return g, err
		}
		m, err := d.metadata(table)
		if err != nil {
			return g, fmt.Errorf("volume %d: %w", v, err)
		}
		g.Volumes = append(g.Volumes, volumeDump{v, p.Format.String(), p.Base, p.Truncated, p.LSN, p.Term(), m})
	}
	return g, nil
}

func (d *dump) metadata(t *meta.Table) (metaDump, error) {
	m := metaDump{Revision: t.Revision(), Compacted: t.Compacted(), Bytes: t.Bytes(), Keys: []metaItem{}}
	read, err := t.Range(meta.RangeSpec{Span: meta.Span{End: []byte{0}}})
	if err != nil {
		return m, err
	}
	for _, i := range read.Items {
		m.Keys = append(m.Keys, itemOf(meta.Change{Item: i}))
	}
	for from := m.Compacted; d.history && from < m.Revision; {
		changes, upTo, err := t.Since(from, 1000)
		if err != nil {
			return m, err
		}
		for _, c := range changes {
			m.History = append(m.History, itemOf(c))
		}
		from = upTo
	}
	return m, nil
}
