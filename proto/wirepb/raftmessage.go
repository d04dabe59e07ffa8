package wirepb

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// GroupMessage is a raft message and the group it belongs to.
type GroupMessage struct {
	Group   pinetree.GroupID
	Message *raftpb.Message
	// Floor is the sender's knowledge of up to where every member of the group
	// has the log: what may be compacted.
	Floor pinetree.RaftIndex
}

// RaftFrame.messages is a run of encoded raft messages:
//
//	uvarint group
//	uvarint floor
//	uvarint length of the body in bytes
//	body:
//	  1 byte   message type
//	  2 bytes  which fields follow, little endian, the bits below
//	  uvarint  each field of messageNumbers that is set, in that order
//	  context  uvarint length, bytes
//	  snapshot uvarint length, raftpb.Snapshot in protobuf
//	  entries  uvarint number, then each as storepb.AppendEntry writes it
//
// It takes the place of raftpb's own encoding because marshalling an append of
// 64 entries with protobuf costs an allocation for nearly every field. A
// message's responses are orders for the local storage and never travel.
const (
	// Bits 0 to 7 are the fields of messageNumbers.
	hasReject   = 1 << 8
	isReject    = 1 << 9
	hasContext  = 1 << 10
	hasSnapshot = 1 << 11
	hasEntries  = 1 << 12
	knownFields = 1<<13 - 1

	// lengthBytes is the width of the body's length: it is filled in after the
	// body, so it is a uvarint padded to what 32 GiB would take.
	lengthBytes = 5
	// minEntryBytes is the least that an entry takes.
	minEntryBytes = 4
)

// messageNumbers are the message's numeric fields in the order of their bits.
func messageNumbers(m *raftpb.Message) [8]**uint64 {
	return [8]**uint64{&m.To, &m.From, &m.Term, &m.LogTerm, &m.Index, &m.Commit, &m.Vote, &m.RejectHint}
}

// Travels reports whether raft messages of a type are for other nodes. The
// others are a node's words to itself, and one that came from outside could
// make a replica believe that its disk or its clock had spoken.
func Travels(kind raftpb.MessageType) bool {
	switch kind {
	case raftpb.MsgProp, raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp,
		raftpb.MsgPreVote, raftpb.MsgPreVoteResp, raftpb.MsgSnap, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp,
		raftpb.MsgTransferLeader, raftpb.MsgTimeoutNow, raftpb.MsgReadIndex, raftpb.MsgReadIndexResp:
		return true
	}
	return false
}

// GroupMessageBytes is an upper bound of what AppendGroupMessage appends.
func GroupMessageBytes(m GroupMessage) int {
	size := 2*binary.MaxVarintLen64 + lengthBytes + 3 + 11*binary.MaxVarintLen64 + len(m.Message.Context)
	for _, e := range m.Message.Entries {
		size += storepb.EntryBytes(e)
	}
	if m.Message.Snapshot != nil {
		size += proto.Size(m.Message.Snapshot)
	}
	return size
}

// envelopeBytes bounds what gatherer.message writes by itself: all but the data
// that it refers to.
func envelopeBytes(m GroupMessage) int {
	size := GroupMessageBytes(m)
	for _, e := range m.Message.Entries {
		if len(e.Data) >= gatherBytes {
			size -= len(e.Data)
		}
	}
	return size
}

// AppendGroupMessage appends the encoded form of m to buf. It reads the
// message and keeps nothing of it.
func AppendGroupMessage(buf []byte, m GroupMessage) []byte {
	g := gatherer{run: make([]byte, 0, envelopeBytes(m))}
	g.message(m)
	buf = slices.Grow(buf, g.length())
	for _, piece := range g.done() {
		buf = append(buf, piece.ReadOnlyData()...)
	}
	return buf
}

// message adds the encoded form of m. The caller has made g.run with room for
// envelopeBytes of it: the length of the body is filled in when parts of the
// run were given out already, so the run must not move.
func (g *gatherer) message(m GroupMessage) {
	msg := m.Message
	g.run = binary.AppendUvarint(g.run, uint64(m.Group))
	g.run = binary.AppendUvarint(g.run, uint64(m.Floor))
	lengthAt := len(g.run)
	g.run = append(g.run, 0, 0, 0, 0, 0)
	bodyAt, before := len(g.run), g.length()
	g.run = append(g.run, byte(msg.GetType()), 0, 0)

	var fields uint16
	for i, number := range messageNumbers(msg) {
		if *number != nil {
			fields |= 1 << i
			g.run = binary.AppendUvarint(g.run, **number)
		}
	}
	if msg.Reject != nil {
		fields |= hasReject
		if *msg.Reject {
			fields |= isReject
		}
	}
	if msg.Context != nil {
		fields |= hasContext
		g.run = binary.AppendUvarint(g.run, uint64(len(msg.Context)))
		g.run = append(g.run, msg.Context...)
	}
	if msg.Snapshot != nil {
		fields |= hasSnapshot
		g.run = appendSnapshot(g.run, msg.Snapshot)
	}
	if len(msg.Entries) > 0 {
		fields |= hasEntries
		g.run = binary.AppendUvarint(g.run, uint64(len(msg.Entries)))
		for _, e := range msg.Entries {
			g.run = storepb.AppendEntryHead(g.run, e)
			g.payload(e.Data)
		}
	}
	binary.LittleEndian.PutUint16(g.run[bodyAt+1:], fields)
	putPaddedUvarint(g.run[lengthAt:bodyAt], uint64(g.length()-before))
}

func appendSnapshot(buf []byte, snapshot *raftpb.Snapshot) []byte {
	buf = binary.AppendUvarint(buf, uint64(proto.Size(snapshot)))
	buf, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(buf, snapshot)
	if err != nil {
		// Protobuf refuses only missing required fields and strings that are
		// not UTF-8; a snapshot has neither kind of field.
		panic(fmt.Sprintf("wirepb: a raft snapshot cannot be marshalled: %v", err))
	}
	return buf
}

// putPaddedUvarint fills all of dst with n, padded by continuation bytes.
func putPaddedUvarint(dst []byte, n uint64) {
	for i := range dst {
		dst[i] = byte(n) | 0x80
		n >>= 7
	}
	dst[len(dst)-1] &^= 0x80
}

// DecodeGroupMessages calls fn for each message in buf, in order, until fn
// returns an error, which it passes on. Contexts and entries share buf's
// memory. Bytes that AppendGroupMessage cannot have written, and messages of
// types that do not travel, are a *pinetree.CorruptError; fn may have been
// called for the messages before.
func DecodeGroupMessages(buf []byte, fn func(GroupMessage) error) error {
	for len(buf) > 0 {
		r := messageReader{rest: buf}
		group := pinetree.GroupID(r.number("group"))
		floor := pinetree.RaftIndex(r.number("floor"))
		body := r.bytes("length")
		if r.err != nil {
			return r.err
		}
		buf = r.rest
		message, err := decodeMessage(body)
		if err != nil {
			return err
		}
		if err := fn(GroupMessage{Group: group, Message: message, Floor: floor}); err != nil {
			return err
		}
	}
	return nil
}

// receivedMessage keeps a message and what its fields point to in one
// allocation.
type receivedMessage struct {
	message raftpb.Message
	kind    raftpb.MessageType
	reject  bool
	numbers [8]uint64
}

func decodeMessage(body []byte) (*raftpb.Message, error) {
	if len(body) < 3 {
		return nil, corruptMessage("length")
	}
	in := &receivedMessage{kind: raftpb.MessageType(body[0])}
	fields := binary.LittleEndian.Uint16(body[1:])
	if !Travels(in.kind) {
		return nil, corruptMessage(fmt.Sprintf("type %s, which never travels", in.kind))
	}
	if fields&^knownFields != 0 || fields&(hasReject|isReject) == isReject {
		return nil, corruptMessage("set of fields")
	}
	m, r := &in.message, messageReader{rest: body[3:]}
	m.Type = &in.kind
	numbers := messageNumbers(m)
	for left := fields & (1<<len(numbers) - 1); left != 0; left &= left - 1 {
		i := bits.TrailingZeros16(left)
		in.numbers[i] = r.number("number")
		*numbers[i] = &in.numbers[i]
	}
	if fields&hasReject != 0 {
		in.reject = fields&isReject != 0
		m.Reject = &in.reject
	}
	if fields&hasContext != 0 {
		m.Context = r.bytes("context")
	}
	if fields&hasSnapshot != 0 {
		m.Snapshot = r.snapshot()
	}
	if fields&hasEntries != 0 {
		m.Entries = r.entries()
	}
	if r.err == nil && len(r.rest) != 0 {
		r.fail("end: bytes are left over")
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

// messageReader reads fields one after the other and keeps the first error;
// from then on it reads zeroes.
type messageReader struct {
	rest []byte
	err  error
}

func (r *messageReader) number(name string) uint64 {
	n, width := binary.Uvarint(r.rest)
	if r.err != nil || width <= 0 {
		r.fail(name)
		return 0
	}
	r.rest = r.rest[width:]
	return n
}

func (r *messageReader) bytes(name string) []byte {
	length := r.number(name)
	if r.err != nil || length > uint64(len(r.rest)) {
		r.fail(name)
		return nil
	}
	b := r.rest[:length:length]
	r.rest = r.rest[length:]
	return b
}

func (r *messageReader) snapshot() *raftpb.Snapshot {
	s := &raftpb.Snapshot{}
	if err := proto.Unmarshal(r.bytes("snapshot"), s); err != nil {
		r.fail("snapshot: " + err.Error())
	}
	return s
}

func (r *messageReader) entries() []*raftpb.Entry {
	count := r.number("number of entries")
	if r.err != nil || count == 0 || count > uint64(len(r.rest)/minEntryBytes) {
		r.fail("number of entries")
		return nil
	}
	entries := make([]*raftpb.Entry, count)
	for i := range entries {
		e, rest, err := storepb.DecodeEntry(r.rest)
		if err != nil {
			r.fail(fmt.Sprintf("entry %d of %d: %v", i, count, err))
			return nil
		}
		entries[i], r.rest = e, rest
	}
	return entries
}

func (r *messageReader) fail(what string) {
	if r.err == nil {
		r.err = corruptMessage(what)
	}
}

func corruptMessage(what string) error {
	return &pinetree.CorruptError{Where: "raft message from a peer", What: "bad " + what}
}
