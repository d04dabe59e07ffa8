// Package lag counts the bytes that a replica has committed and not replayed yet,
// and says when it has to take less. A group acknowledges what is committed, so
// without a bound an engine that is slower than its writers would let the raft
// log grow, and with it the time that a new leader needs before it is ready. A
// leader that owes too much proposes less, which its writers feel as a smaller
// window; a follower lets appends wait, which its leader feels as a smaller
// number of bytes in flight, and its quorum, if it needs this follower, as
// slower commits. It knows no raft, clock or engine, and is pure but for the
// counts that the replicas of a node share.
package lag

import (
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
)

// Limits of what may be committed and not replayed, in bytes.
type Limits struct {
	// MaxBytes bounds one replica; a follower goes beyond it by what its leader
	// has in flight when it is reached.
	MaxBytes int64
	// MaxNodeBytes bounds all replicas of a node together; one that owes less
	// than MinBytes goes on even then, so that those that lag do not stop those
	// that do not.
	MaxNodeBytes, MinBytes int64
}

// Node is what the replicas of a node owe together. Its methods may be called by
// any goroutine. The zero Node owes nothing.
type Node struct {
	owed  atomic.Int64
	waits atomic.Uint64
}

// Bytes is how much is committed and not replayed.
func (n *Node) Bytes() int64 { return n.owed.Load() }

// Waits is how often something had to wait for the replay.
func (n *Node) Waits() uint64 { return n.waits.Load() }

// Lag is what one replica owes. It belongs to the replica's goroutine.
//
// Invariants:
//
//	marks are neighbours in rising order; the first counted ones are committed
//	owed is their sum, and counted in the node's, too
type Lag struct {
	limits  Limits
	node    *Node
	marks   []mark
	counted int
	commit  pinetree.RaftIndex
	owed    int64
	held    []*raftpb.Message
	heldFor int64 // bytes of held
}

// mark is about how many bytes a run of entries has.
type mark struct {
	first, last pinetree.RaftIndex
	bytes       int64
}

const (
	// markBytes is how many bytes share a mark, if their entries come that small.
	markBytes = 64 << 10
	// entryBytes is what an entry costs besides its data.
	entryBytes = 64
	// maxHeldBytes and maxHeld bound the appends that wait. A leader has no more
	// in flight; beyond it they are dropped, which raft repairs.
	maxHeldBytes, maxHeld = 32 << 20, 1024
)

// New makes the lag of a replica that starts. What is in its log already is not
// counted: it is bounded by what it owed before, and by what its engine had not
// flushed. A nil node is one of its own.
func New(limits Limits, node *Node) *Lag {
	if node == nil {
		node = new(Node)
	}
	return &Lag{limits: limits, node: node}
}

// Size is how many bytes of data entries have.
func Size(entries []*raftpb.Entry) int {
	n := 0
	for _, e := range entries {
		n += len(e.GetData())
	}
	return n
}

// Append takes note of entries that go to the log, where they may overwrite what
// is not committed.
func (l *Lag) Append(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	first := pinetree.RaftIndex(entries[0].GetIndex())
	for n := len(l.marks); n > l.counted && l.marks[n-1].last >= first; n-- {
		if l.marks[n-1].first < first {
			l.marks[n-1].last = first - 1
			break
		}
		l.marks = l.marks[:n-1]
	}
	for _, e := range entries {
		index, size := pinetree.RaftIndex(e.GetIndex()), int64(len(e.GetData())+entryBytes)
		if n := len(l.marks); n > l.counted && l.marks[n-1].last+1 == index && l.marks[n-1].bytes < markBytes {
			l.marks[n-1].last, l.marks[n-1].bytes = index, l.marks[n-1].bytes+size
		} else {
			l.marks = append(l.marks, mark{first: index, last: index, bytes: size})
		}
	}
}

// Commit takes note of how far the log is committed.
func (l *Lag) Commit(index pinetree.RaftIndex) {
	l.commit = max(l.commit, index)
	for l.counted < len(l.marks) && l.marks[l.counted].last <= l.commit {
		l.owe(l.marks[l.counted].bytes)
		l.counted++
	}
}

// Reach takes note of how far the engine has replayed.
func (l *Lag) Reach(index pinetree.RaftIndex) {
	l.Commit(index)
	n := 0
	for ; n < l.counted && l.marks[n].last <= index; n++ {
		l.owe(-l.marks[n].bytes)
	}
	l.marks, l.counted = append(l.marks[:0], l.marks[n:]...), l.counted-n
}

func (l *Lag) owe(bytes int64) {
	l.owed += bytes
	l.node.owed.Add(bytes)
}

// Bytes is how much is committed and not replayed, to within a mark.
func (l *Lag) Bytes() int64 { return l.owed }

// Full tells that no more is to be taken, when so many bytes are on their way to
// be committed besides.
func (l *Lag) Full(underWay int) bool {
	full := l.room(int64(underWay)) <= 0
	if full {
		l.node.waits.Add(1)
	}
	return full
}

func (l *Lag) room(underWay int64) int64 {
	own := l.owed + underWay
	return min(l.limits.MaxBytes-own, max(l.limits.MinBytes-own, l.limits.MaxNodeBytes-l.node.owed.Load()))
}

// Hold tells whether a message of the leader is not to be given to raft now: an
// append, while this replica owes too much, and every one after it, for a log
// takes them in order. Those that came wait for Release. Entries that are not
// committed do not count, so that what a new leader needs to commit the ones
// before gets through.
func (l *Lag) Hold(m *raftpb.Message) bool {
	if m.GetType() != raftpb.MsgApp || len(l.held) == 0 && (len(m.Entries) == 0 || !l.Full(0)) {
		return false
	}
	size := int64(Size(m.Entries))
	if len(l.held) < maxHeld && l.heldFor+size <= maxHeldBytes {
		l.held, l.heldFor = append(l.held, m), l.heldFor+size
	}
	return true
}

// Release returns, in order, the messages for which there is room by now.
func (l *Lag) Release() []*raftpb.Message {
	n, room := 0, l.room(0)
	for ; n < len(l.held) && room > 0; n++ {
		size := int64(Size(l.held[n].Entries))
		room, l.heldFor = room-size-entryBytes, l.heldFor-size
	}
	released := l.held[:n:n]
	if l.held = l.held[n:]; len(l.held) == 0 {
		l.held = nil // let go of the messages
	}
	return released
}

// Close ends the count, of a replica that has stopped.
func (l *Lag) Close() {
	l.owe(-l.owed)
	*l = Lag{limits: l.limits, node: l.node}
}
