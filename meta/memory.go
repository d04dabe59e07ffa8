package meta

import (
	"bytes"
	"cmp"

	"github.com/pinetree-db/pinetree"
)

// MaxMemories is how many transactions of a volume are remembered by their ids, the
// last ones that changed something. The others can be carried out again: nobody has
// seen anything of the first time. All replicas must forget alike: changing it changes what they
// decide.
const MaxMemories = 1024

// Memory is how a transaction that carried an id ended.
type Memory struct {
	Index     pinetree.RaftIndex // of its raft entry, which puts memories in order
	ID        []byte
	Sum       uint64 // of the transaction, so that another one of that id is found out
	Succeeded bool
	Before    pinetree.MetaRevision // which it saw
	Revision  pinetree.MetaRevision // after it
	Deleted   []int                 // keys, by each of its deletes
}

func byIndex(a, b *Memory) int { return cmp.Compare(a.Index, b.Index) }
func byID(a, b *Memory) int    { return bytes.Compare(a.ID, b.ID) }

// recall returns how the transaction of an id ended, or nil.
func (t *Table) recall(id []byte) *Memory {
	if len(id) == 0 {
		return nil
	}
	return t.ids.find(&Memory{ID: id})
}

// forgot tells that a transaction which was first sent after a revision may have
// been forgotten. Each memory was made of a later revision than the one before, so
// what is forgotten saw none that the oldest memory did not see, too.
func (t *Table) forgot(since pinetree.MetaRevision) bool {
	return since > 0 && t.memories.count() >= MaxMemories && t.memories.first().Before >= since
}

// remember keeps a memory and forgets the oldest for it.
func (t *Table) remember(m *Memory, gone []Record) []Record {
	t.memories, t.ids = t.memories.insert(m), t.ids.insert(m)
	for t.memories.count() > MaxMemories {
		oldest := t.memories.first()
		t.memories, t.ids = t.memories.remove(oldest), t.ids.remove(oldest)
		gone = append(gone, Record{Memory: oldest})
	}
	return gone
}

func (t *Table) lastMemory() pinetree.RaftIndex {
	if last := t.memories.floor(&Memory{Index: ^pinetree.RaftIndex(0)}); last != nil {
		return last.Index
	}
	return 0
}
