package members

import (
	"context"
	"fmt"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/orders"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Volume is a volume's record, as Group is a group's.
type Volume = ledger.Kept[ledger.Volume]

// VolumesOf lists the volumes of a group, those that are being deleted included.
func VolumesOf(id pinetree.GroupID, volumes map[pinetree.VolumeID]*Volume) []*Volume {
	var list []*Volume
	for _, v := range volumes {
		if v.Is.Group == id {
			list = append(list, v)
		}
	}
	return list
}

// CountVolumes adds to what is told of groups how many volumes each has, in one pass
// over all of them: whoever lists thousands of groups holds up the leases meanwhile.
func CountVolumes(volumes map[pinetree.VolumeID]*Volume, groups ...*wirepb.GroupInfo) {
	count := map[pinetree.GroupID]uint32{}
	for _, v := range volumes {
		if !v.Is.Deleted {
			count[v.Is.Group]++
		}
	}
	for _, g := range groups {
		g.Volumes = count[pinetree.GroupID(g.GetGroup())]
	}
}

// DeleteVolume records that a volume is no more, while its group goes on. Find finds
// it where the records belong, unless it refuses that. Then is called there, too.
func (h *Hands) DeleteVolume(ctx context.Context, find func() (*Volume, error), then func(*Volume)) error {
	var k *Volume
	var next ledger.Volume
	return h.Persist(ctx, func() (d ledger.Decision, err error) {
		if k, err = find(); err != nil {
			return d, err
		}
		next = k.Is
		next.Deleted = true
		event := VolumeEvent("volume_deleted", byOrder, next)
		event.Outcome += ", goes; its group stays, for others share it"
		return ledger.Decide(event, k.Put(next.Key(), next)), nil
	}, func(revision int64) {
		k.Is, k.Revision = next, revision
		then(k)
	})
}

// DropVolume has the leader take a deleted volume out of its group, and ends its
// record when every replica will have. Find finds the record where it belongs; nil
// when there is none any more.
func (h *Hands) DropVolume(ctx context.Context, leader orders.Target, v ledger.Volume, find func() *Volume, then func()) error {
	if err := h.Dial.DropVolume(ctx, leader, &wirepb.NodeDropVolumeRequest{Group: uint64(v.Group), Volume: uint64(v.ID)}); err != nil {
		return err
	}
	return h.Persist(ctx, func() (d ledger.Decision, _ error) {
		k := find()
		if k == nil {
			return d, nil
		}
		return ledger.Decide(VolumeEvent("volume_dropped", fmt.Sprintf("group %d has it no more", v.Group), v),
			ledger.Change{Key: v.Key(), Expect: k.Revision}), nil
	}, func(int64) { then() })
}
