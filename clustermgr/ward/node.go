package ward

import (
	"strings"
	"time"

	"github.com/pinetree-db/pinetree/clustermgr/ledger"
	"github.com/pinetree-db/pinetree/clustermgr/policy"
	"github.com/pinetree-db/pinetree/lease"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// Node is a storage node, with all that speaks for or against its health.
type Node struct {
	ledger.Kept[ledger.Node]
	Vitals policy.Vitals
	// As of the last heartbeat: since when the disk has finished no fsync, for how
	// long one had been waiting, and what one usually takes.
	FsyncAge, FsyncPending, Fsync time.Duration
	Space                         string // the mark reached by its disk
	Load                          uint32 // in thousandths of its processors
	Note                          string // what draining waits for
	Gone                          bool   // has left the cluster, and its record is no more

	noted      policy.Health // the last one that was told
	notedAt    lease.Instant // when; zero when it never changed in this reign
	deaths     policy.Deaths
	sentencing bool // a quarantine's begin or end is being recorded
}

// Beat takes in what a heartbeat tells of the node.
func (n *Node) Beat(q *wirepb.HeartbeatRequest) {
	n.FsyncAge = time.Duration(q.GetFsyncAgeMs()) * time.Millisecond
	n.FsyncPending = time.Duration(q.GetFsyncPendingMs()) * time.Millisecond
	n.Fsync = time.Duration(q.GetFsyncUs()) * time.Microsecond
	n.Space, n.Load = q.GetSpace(), q.GetLoad()
}

// Full is the mark that the free space of the node's disk has fallen below, when
// that is one at which the node is to get nothing more; empty otherwise.
func (n *Node) Full() string {
	if n.Space == "warn" {
		return ""
	}
	return n.Space
}

// Since is when its health has changed last; zero when it never did.
func (n *Node) Since() lease.Instant { return n.notedAt }

// Info describes the node, but for what it has of groups.
func (w *Ward) Info(n *Node) *wirepb.NodeInfo {
	now := w.cfg.Clock()
	info := &wirepb.NodeInfo{
		Node: uint64(n.Is.ID), Address: n.Is.Address, Zone: n.Is.Zone, State: w.Health(n, now).String(),
		SilentMs: uint32(n.Vitals.Silence(now).Milliseconds()), Draining: n.Is.Draining, Leaving: n.Is.Leaving, Note: n.Note,
		Load: n.Load, FsyncUs: uint32(n.Fsync.Microseconds()), Space: n.Space,
	}
	if left := time.Until(time.UnixMilli(n.Is.QuarantinedUntil)); left > 0 {
		info.QuarantineMs = uint32(left.Milliseconds())
		info.Note = strings.TrimPrefix(info.Note+"; in quarantine: "+n.Is.Quarantine, "; ")
	}
	return info
}
