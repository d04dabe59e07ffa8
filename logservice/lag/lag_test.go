package lag

import (
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
)

// entries makes entries from an index on, of so many bytes each.
func entries(first pinetree.RaftIndex, sizes ...int) []*raftpb.Entry {
	var list []*raftpb.Entry
	for i, size := range sizes {
		list = append(list, &raftpb.Entry{Index: proto.Uint64(uint64(first) + uint64(i)), Data: make([]byte, size)})
	}
	return list
}

// appendOf is a leader's message with such entries.
func appendOf(first pinetree.RaftIndex, sizes ...int) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgApp.Enum(), Entries: entries(first, sizes...)}
}

func TestOnlyWhatIsCommittedAndNotReplayedCounts(t *testing.T) {
	var node Node
	l, other := New(Limits{}, &node), New(Limits{}, &node)
	const size = markBytes
	is := func(what string, own, all int64) {
		t.Helper()
		if l.Bytes() != own || node.Bytes() != all {
			t.Errorf("%s: %d bytes of %d, want %d of %d", what, l.Bytes(), node.Bytes(), own, all)
		}
	}
	l.Append(entries(5, size, size, size))
	is("what is not committed", 0, 0)
	l.Commit(6)
	is("two committed", 2*(size+entryBytes), 2*(size+entryBytes))
	other.Append(entries(1, size))
	other.Commit(1)
	is("with another replica's", 2*(size+entryBytes), 3*(size+entryBytes))
	l.Append(entries(7, 3*size)) // another leader's, in the place of one that is not committed
	l.Commit(7)
	is("one overwritten", 5*size+3*entryBytes, 6*size+4*entryBytes)
	l.Reach(6)
	is("two replayed", 3*size+entryBytes, 4*size+2*entryBytes)
	l.Close()
	is("stopped", 0, size+entryBytes)
	other.Reach(20) // by a snapshot
	is("all replayed", 0, 0)
}

// TestALagIsTheSumToWithinSomeMarks compares with a list of all entries.
func TestALagIsTheSumToWithinSomeMarks(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var node Node
	l := New(Limits{}, &node)
	var sizes []int64 // of entries 1, 2, …
	var commit, applied int
	most := 0
	for range 20_000 {
		switch random.IntN(4) {
		case 0, 1:
			keep := len(sizes) // the rest is overwritten
			if random.IntN(10) == 0 {
				keep = commit + random.IntN(len(sizes)-commit+1)
			}
			sizes = sizes[:keep]
			var run []int
			for range 1 + random.IntN(8) {
				run = append(run, random.IntN(1<<random.IntN(18)))
				sizes = append(sizes, int64(run[len(run)-1]+entryBytes))
			}
			l.Append(entries(pinetree.RaftIndex(keep+1), run...))
		case 2:
			commit += random.IntN(len(sizes) - commit + 1)
			l.Commit(pinetree.RaftIndex(commit))
		case 3:
			applied += random.IntN(commit - applied + 1)
			l.Reach(pinetree.RaftIndex(applied))
		}
		want := int64(0)
		for _, size := range sizes[applied:commit] {
			want += size
		}
		// At either end a mark may lie half inside, and one that was overwritten in
		// part counts whole.
		const some = 4 * (markBytes + 1<<17 + entryBytes)
		if got := l.Bytes(); got < want-some || got > want+some || got != node.Bytes() {
			t.Fatalf("%d bytes, of the node %d; there are %d", got, node.Bytes(), want)
		}
		most = max(most, len(l.marks))
	}
	l.Reach(pinetree.RaftIndex(len(sizes)))
	if l.Bytes() != 0 || len(l.marks) != 0 || most > 2000 {
		t.Errorf("at the end %d bytes and %d marks, at most %d marks", l.Bytes(), len(l.marks), most)
	}
}

func TestSmallEntriesShareAMark(t *testing.T) {
	l := New(Limits{}, nil)
	for i := range 100_000 {
		l.Append(entries(pinetree.RaftIndex(i+1), 1))
	}
	if most := 100_000*(entryBytes+1)/markBytes + 1; len(l.marks) > most {
		t.Errorf("%d marks for 100,000 entries of a byte, want at most %d", len(l.marks), most)
	}
}

func TestWhenAReplicaTakesNoMore(t *testing.T) {
	const mark = markBytes + entryBytes
	for name, c := range map[string]struct {
		limits      Limits
		own, others int // entries of a mark each
		underWay    int
		full        bool
	}{
		"nothing owed":                        {Limits{4 * mark, 8 * mark, mark}, 0, 0, 0, false},
		"its own limit":                       {Limits{4 * mark, 8 * mark, mark}, 4, 0, 0, true},
		"just below":                          {Limits{4 * mark, 8 * mark, mark}, 3, 0, 0, false},
		"what is under way counts":            {Limits{4 * mark, 8 * mark, mark}, 3, 0, mark, true},
		"the node's limit":                    {Limits{4 * mark, 8 * mark, mark}, 2, 6, 0, true},
		"the node's, by others alone":         {Limits{4 * mark, 8 * mark, mark}, 0, 9, 0, false},
		"the node's, and little of its own":   {Limits{4 * mark, 8 * mark, mark + 1}, 1, 9, 0, false},
		"the least does not exceed the limit": {Limits{2 * mark, 8 * mark, 4 * mark}, 2, 0, 0, true},
	} {
		var node Node
		l, other := New(c.limits, &node), New(c.limits, &node)
		for i := range c.own {
			l.Append(entries(pinetree.RaftIndex(i+1), markBytes))
		}
		for i := range c.others {
			other.Append(entries(pinetree.RaftIndex(i+1), markBytes))
		}
		l.Commit(100)
		other.Commit(100)
		if full := l.Full(c.underWay); full != c.full || node.Waits() > 0 != c.full {
			t.Errorf("%s: full %v after %d waits, want %v", name, full, node.Waits(), c.full)
		}
	}
}

func TestAppendsWaitInOrderUntilThereIsRoom(t *testing.T) {
	const limit = 4 * (markBytes + entryBytes)
	l := New(Limits{MaxBytes: limit, MaxNodeBytes: 10 * limit}, nil)
	l.Append(entries(1, markBytes, markBytes, markBytes, markBytes))
	if l.Hold(appendOf(5, 10)) {
		t.Fatal("held for what is not committed: a new leader could never commit it")
	}
	l.Commit(4)
	heartbeat := &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum()}
	if l.Hold(appendOf(5)) || l.Hold(heartbeat) {
		t.Error("held although it brings nothing")
	}
	var held []*raftpb.Message
	for i := range 6 {
		held = append(held, appendOf(pinetree.RaftIndex(5+i), markBytes))
	}
	held = append(held, appendOf(11)) // tells of a commit, and stands behind the rest
	for i, m := range held {
		if !l.Hold(m) {
			t.Fatalf("message %d is not held", i)
		}
	}
	if l.Hold(heartbeat) {
		t.Error("a heartbeat is held")
	}
	if got := l.Release(); len(got) != 0 {
		t.Fatalf("%d are released without room", len(got))
	}
	l.Reach(2) // room for two
	got := l.Release()
	if len(got) != 2 {
		t.Fatalf("%d are released where two fit", len(got))
	}
	l.Reach(4)
	if got = append(got, l.Release()...); len(got) != 6 {
		t.Fatalf("%d are released where four more fit", len(got))
	}
	got = append(got, l.Release()...)
	if !slices.Equal(got, held) || l.heldFor != 0 || l.Hold(appendOf(12, 1)) {
		t.Errorf("in the end %d of %d messages, %d bytes still count", len(got), len(held), l.heldFor)
	}
}

func TestWhatWaitsIsBounded(t *testing.T) {
	l := New(Limits{MaxBytes: 1, MaxNodeBytes: 1}, nil)
	l.Append(entries(1, markBytes))
	l.Commit(1)
	large := make([]byte, 1<<20)
	for i := range 100 {
		m := appendOf(pinetree.RaftIndex(2 + i))
		m.Entries = []*raftpb.Entry{{Data: large}}
		if !l.Hold(m) {
			t.Fatal("not held")
		}
	}
	if l.heldFor > maxHeldBytes || len(l.held) != maxHeldBytes>>20 {
		t.Errorf("%d messages of %d bytes wait", len(l.held), l.heldFor)
	}
	for range 2 * maxHeld {
		l.Hold(appendOf(500))
	}
	if len(l.held) > maxHeld {
		t.Errorf("%d messages wait", len(l.held))
	}
}
