package members

import (
	"fmt"
	"slices"
	"unicode"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/clustermgr/refusal"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Check refuses a change of a group's replicas that makes no sense or that the
// group would not survive. Health tells of a node whether it lives, and false when
// there is no such node.
func Check(g ledger.Group, c policy.Change, health func(pinetree.NodeID) (policy.Health, bool)) error {
	if c.Add == 0 && c.Remove == 0 {
		return refusal.As(pinetree.ErrBadBatch, "group %d: no node to add and none to remove were named", g.ID)
	}
	if under := g.Change; under != nil {
		if c.Add != 0 || c.Remove != under.Add {
			return refusal.As(pinetree.ErrQueueFull, "group %d has a change of its replicas under way: %s; wait for its end, or give it up by removing the replica that it adds",
				g.ID, policy.Change{Add: under.Add, Remove: under.Remove})
		}
		return nil // gives up what is being added
	}
	adding, known := health(c.Add)
	switch {
	case c.Add != 0 && !known:
		return refusal.As(pinetree.ErrNotFound, "there is no node %d; a node registers when it starts", c.Add)
	case c.Add != 0 && slices.Contains(g.Voters, c.Add):
		return refusal.As(pinetree.ErrExists, "group %d has a replica on node %d already; its voters are %v", g.ID, c.Add, g.Voters)
	case c.Remove != 0 && !slices.Contains(g.Voters, c.Remove):
		return refusal.As(pinetree.ErrNotFound, "group %d has no replica on node %d; its voters are %v", g.ID, c.Remove, g.Voters)
	case !g.Created:
		return refusal.NotYet("group %d is still being made; its listing says what it waits for", g.ID)
	}
	if _, dirty := g.Removed[c.Add]; dirty {
		return refusal.NotYet("node %d may still have files of its former replica of group %d; they are removed as soon as it is heard of", c.Add, g.ID)
	}
	err := policy.CheckChange(c, g.Voters, func(id pinetree.NodeID) policy.Health {
		if h, known := health(id); known {
			return h
		}
		return policy.Dead
	})
	if err == nil && c.Add != 0 && adding != policy.Alive {
		err = fmt.Errorf("node %d, which is to get a replica, is %s", c.Add, adding)
	}
	if err != nil {
		return refusal.NotYet("group %d: cannot %s: %v", g.ID, c, err)
	}
	return nil
}

// CheckVolume refuses a volume with a name or a format that cannot be.
func CheckVolume(q *wirepb.CreateVolumeRequest) error {
	name := q.GetName()
	if name == "" || len(name) > 255 {
		return refusal.As(pinetree.ErrBadBatch, "a volume has a name of 1 to 255 bytes; this one has %d", len(name))
	}
	for _, c := range name {
		if !unicode.IsPrint(c) {
			return refusal.As(pinetree.ErrBadBatch, "volume name %q holds the unprintable character %U", name, c)
		}
	}
	if f := pinetree.Format(q.GetFormat()); q.GetFormat() > 255 || f.String() == "unknown" {
		return refusal.As(pinetree.ErrBadBatch, "volume %s: format %d; formats are %s (%d) and %s (%d)", name, q.GetFormat(),
			pinetree.FormatOpaque, pinetree.FormatOpaque, pinetree.FormatRedo, pinetree.FormatRedo)
	}
	return nil
}

// SameVolume refuses to make a volume when one of that name is another.
func SameVolume(known ledger.Volume, q *wirepb.CreateVolumeRequest) error {
	if known.Format != pinetree.Format(q.GetFormat()) || q.GetGroup() != 0 && known.Group != pinetree.GroupID(q.GetGroup()) {
		return refusal.As(pinetree.ErrExists, "volume %s exists with other properties: id %d, format %s, group %d", known.Name, known.ID, known.Format, known.Group)
	}
	return nil
}
