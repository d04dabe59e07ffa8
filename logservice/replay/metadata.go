package replay

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// Outcome is what became of a transaction on metadata: a result, or why it was
// refused. The asker knows which it is.
type Outcome struct {
	Asker  storepb.Asker
	Result meta.Result
	Err    error
}

// maxCompaction is how many changes one entry gives up at most, so that no engine
// write is long. All replicas must do alike: changing it changes what they decide.
const maxCompaction = 16 << 10

func (d *decider) replayMeta(e *raftpb.Entry, c *storepb.Control) error {
	switch op := c.Op.(type) {
	case *storepb.Control_MetaTxn:
		return d.replayTxn(e, op.MetaTxn)
	case *storepb.Control_MetaCompact:
		id := pinetree.VolumeID(op.MetaCompact.Volume)
		table, err := d.table(id)
		if err != nil || table == nil {
			return err
		}
		to := table.Reachable(pinetree.MetaRevision(op.MetaCompact.Revision), maxCompaction)
		return d.advance(id, table, meta.Delta{Revision: table.Revision(), Compacted: to})
	}
	return nil
}

func (d *decider) replayTxn(e *raftpb.Entry, m *storepb.MetaTxn) error {
	id := pinetree.VolumeID(m.Volume)
	table, err := d.table(id)
	if err != nil {
		return err
	}
	if table == nil {
		why := fmt.Errorf("%w: the group has no volume %d", pinetree.ErrUnknownVolume, id)
		d.Outcomes = append(d.Outcomes, Outcome{Asker: storepb.Asker(m.Asker), Err: why})
		return nil
	}
	txn, err := m.Read()
	if err != nil {
		return corruptEntry(e, err.Error())
	}
	delta, result, err := meta.Evaluate(table, meta.Proposal{
		Txn: txn, Index: pinetree.RaftIndex(e.GetIndex()), Quota: d.Position.Volumes[id].Settings.MetaBytes,
	})
	d.Outcomes = append(d.Outcomes, Outcome{Asker: storepb.Asker(m.Asker), Result: result, Err: err})
	return d.advance(id, table, delta)
}

// table is the metadata of a volume as the entries so far leave it; nil when the
// group does not carry the volume.
func (d *decider) table(id pinetree.VolumeID) (*meta.Table, error) {
	if t := d.tables[id]; t != nil {
		return t, nil
	}
	if _, known := d.Position.Volumes[id]; !known {
		return nil, nil
	}
	t, err := d.from.Meta(id)
	if errors.Is(err, pinetree.ErrUnknownVolume) {
		return meta.Empty(), nil // the entries have made it
	}
	return t, err
}

// advance takes in what an entry changes of a volume's metadata.
func (d *decider) advance(id pinetree.VolumeID, table *meta.Table, delta meta.Delta) error {
	if len(delta.Records) == 0 && delta.Compacted == table.Compacted() {
		return nil
	}
	next, _, err := table.Advance(delta)
	if err != nil {
		return err
	}
	if d.tables == nil {
		d.tables = map[pinetree.VolumeID]*meta.Table{}
	}
	d.tables[id] = next
	at := d.Position.Volumes[id]
	at.MetaRevision, at.MetaCompacted, at.MetaBytes = next.Revision(), next.Compacted(), next.Bytes()
	d.Position.Volumes[id] = at
	for n := range d.Meta {
		if m := &d.Meta[n]; m.Volume == id {
			m.Revision, m.Compacted, m.Records = delta.Revision, delta.Compacted, append(m.Records, delta.Records...)
			return nil
		}
	}
	d.Meta = append(d.Meta, engine.MetaWrite{Volume: id, Delta: delta})
	return nil
}
