package segment

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/raftlog/segment/frame"
)

// recent bounds the entries that are kept in memory so that raft's reads,
// which are mostly of what was just saved, do not go to the disk. The oldest
// saved go first.
type recent struct {
	limit int64
	bytes int64
	queue []run // in the order of Save; from head on
	head  int
}

// run says that entries of a group, up to an index, were cached by one Save.
type run struct {
	group pinetree.GroupID
	upTo  uint64
}

// maxRuns bounds the queue of a store whose entries are compacted away before
// they fill the cache.
const maxRuns = 1 << 16

// entryOverhead is about what an entry takes in memory beside its data.
const entryOverhead = 128

func cachedBytes(e *raftpb.Entry) int64 { return int64(len(e.Data)) + entryOverhead }

// remember caches the entries of a change that was just applied.
func (x *index) remember(c frame.Change) {
	if len(c.Entries) == 0 {
		return
	}
	g, r := x.groups[c.Group], &x.recent
	g.cached = append(g.cached, c.Entries...)
	for _, e := range c.Entries {
		r.bytes += cachedBytes(e)
	}
	r.queue = append(r.queue, run{group: c.Group, upTo: g.last()})
	for (r.bytes > r.limit || len(r.queue)-r.head > maxRuns) && r.head < len(r.queue) {
		oldest := r.queue[r.head]
		r.head++
		if g := x.groups[oldest.group]; g != nil {
			kept := min(g.last()-min(oldest.upTo, g.last()), uint64(len(g.cached)))
			x.forgetFirst(g, len(g.cached)-int(kept))
		}
	}
	if r.head > len(r.queue)/2 {
		r.queue = r.queue[:copy(r.queue, r.queue[r.head:])]
		r.head = 0
	}
}

// forgetFirst drops the n oldest of a group's cached entries.
func (x *index) forgetFirst(g *groupLog, n int) {
	x.release(g.cached[:n])
	g.cached = g.cached[n:]
}

// forgetLast drops the n newest of a group's cached entries.
func (x *index) forgetLast(g *groupLog, n int) {
	x.release(g.cached[len(g.cached)-n:])
	g.cached = g.cached[:len(g.cached)-n]
}

func (x *index) release(entries []*raftpb.Entry) {
	for _, e := range entries {
		x.recent.bytes -= cachedBytes(e)
	}
	clear(entries)
}
