package transport

import (
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/wirepb"
)

// urgent tells the lane of a message type. Appends and snapshots are bulk, and
// keep their order. Everything else is a few bytes that somebody waits for:
// heartbeats and votes, on which leadership hangs; quorum reads; and answers
// to appends, on which commit hangs, and which must not wait behind the
// appends that this node sends the other way as leader of other groups. They
// may overtake appends: raft takes an acknowledgement as a maximum, recognises
// a rejection that is out of date, never lets a heartbeat commit more than the
// follower has acknowledged, and asks a follower to campaign only when that one
// has everything.
func urgent(kind raftpb.MessageType) bool {
	switch kind {
	case raftpb.MsgApp, raftpb.MsgSnap, raftpb.MsgProp:
		return false
	}
	return true
}

// laneID names a lane.
type laneID struct {
	peer pinetree.NodeID
	name string
}

// lane is one ordered flow of messages to one peer: a bounded queue, which any
// goroutine fills, and a goroutine of its own, in run, which empties it.
type lane struct {
	laneID
	transport *Transport
	limits    QueueLimits
	// wake holds a token when the queue may have become non-empty.
	wake chan struct{}

	mu    sync.Mutex
	queue []queued
	stats LaneStats // QueuedMessages is filled in by snapshot
}

// queued is a message and the bound of its encoded size.
type queued struct {
	wirepb.GroupMessage
	bytes int
}

func newLane(t *Transport, id laneID, limits QueueLimits) *lane {
	return &lane{
		laneID: id, transport: t, limits: limits, wake: make(chan struct{}, 1),
		stats: LaneStats{Peer: id.peer, Lane: id.name},
	}
}

// put queues a message or counts it as dropped.
func (l *lane) put(m wirepb.GroupMessage) {
	size := wirepb.GroupMessageBytes(m)
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.stats
	full := len(l.queue) > 0 && (len(l.queue) >= l.limits.MaxMessages || s.QueuedBytes+size > l.limits.MaxBytes)
	if full || size > maxFrameBytes {
		s.DroppedFull++
		return
	}
	l.queue = append(l.queue, queued{m, size})
	s.QueuedBytes += size
}

// signal wakes the lane's goroutine if there is something to send.
func (l *lane) signal() {
	l.mu.Lock()
	waiting := len(l.queue) > 0
	l.mu.Unlock()
	if waiting {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// take removes the messages of the next frame: at least one if there is any,
// then as many as stay within frameBytes.
func (l *lane) take() []queued {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size := 0, 0
	for n < len(l.queue) && (n == 0 || size+l.queue[n].bytes <= frameBytes) {
		size += l.queue[n].bytes
		n++
	}
	taken := l.queue[:n:n]
	l.queue = l.queue[n:]
	l.stats.QueuedBytes -= size
	return taken
}

// takeAll empties the queue.
func (l *lane) takeAll() []queued {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.queue
	l.queue, l.stats.QueuedBytes = nil, 0
	return taken
}

func (l *lane) update(change func(*LaneStats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.stats)
}

func (l *lane) snapshot() LaneStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.QueuedMessages = len(l.queue)
	return s
}
