package replay_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/logservice/replay"
	"github.com/pinetree-db/pinetree/meta"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// replica is the least that entries can be replayed into: a position and tables.
type replica struct {
	position pinetree.Position
	meta     engine.Metadata
	outcomes map[storepb.Asker]string
}

func newReplica() *replica { return &replica{outcomes: map[storepb.Asker]string{}} }

func (r *replica) Position() pinetree.Position { return r.position }

func (r *replica) Meta(id pinetree.VolumeID) (*meta.Table, error) {
	if _, ok := r.position.Volumes[id]; !ok {
		return nil, pinetree.ErrUnknownVolume
	}
	return r.meta.Table(id), nil
}

// replay takes a run of entries in one write.
func (r *replica) replay(entries ...*raftpb.Entry) error {
	d, err := replay.Decide(r, []replay.Run{{Entries: entries}})
	if err != nil {
		return err
	}
	if err := engine.CheckWrite(r.position, d.Write); err != nil {
		return err
	}
	next, _, err := r.meta.Advance(d.Write)
	if err != nil {
		return err
	}
	r.position, r.meta = d.Position, next
	for _, o := range d.Outcomes {
		r.outcomes[o.Asker] = fmt.Sprintf("%+v, %v", o.Result, o.Err)
	}
	return nil
}

// stored is all that a replica has to keep.
func (r *replica) stored(t *rapid.T) []byte {
	position, err := storepb.EncodePosition(r.position)
	if err == nil {
		position, err = r.meta.Append(position)
	}
	if err != nil {
		t.Fatal(err)
	}
	return position
}

func entry(t interface{ Fatal(...any) }, index int, c *storepb.Control) *raftpb.Entry {
	data, err := storepb.EncodeControl(c)
	if err != nil {
		t.Fatal(err)
	}
	return &raftpb.Entry{Index: proto.Uint64(uint64(index)), Term: proto.Uint64(1), Data: data}
}

func create(id uint64) *storepb.Control {
	return &storepb.Control{Op: &storepb.Control_CreateVolume{CreateVolume: &storepb.CreateVolume{Volume: id, Format: uint32(pinetree.FormatOpaque)}}}
}

func put(key string, size int) meta.Op {
	return meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: []byte(key)}, Value: make([]byte, size)}
}

// randomControl is about one of two volumes, of which the second is made late, if at
// all.
func randomControl(t *rapid.T, index int) *storepb.Control {
	id := rapid.Uint64Range(1, 2).Draw(t, "volume")
	switch rapid.IntRange(0, 12).Draw(t, "control") {
	case 0:
		return create(id)
	case 1:
		return storepb.StoreMetaCompact(pinetree.VolumeID(id), pinetree.MetaRevision(rapid.IntRange(0, index).Draw(t, "to")))
	case 2:
		return &storepb.Control{Op: &storepb.Control_ChangeVolume{ChangeVolume: &storepb.ChangeVolume{
			Volume: id, Settings: &storepb.VolumeSettings{MetaBytes: rapid.Uint64Range(0, 4000).Draw(t, "quota")},
		}}}
	}
	key := rapid.SampledFrom([]string{"a", "b", "c"})
	x := meta.Txn{Then: []meta.Op{put(key.Draw(t, "key"), rapid.IntRange(0, 500).Draw(t, "size"))}}
	if rapid.Bool().Draw(t, "compares") {
		x.Compares = []meta.Compare{{Key: []byte(key.Draw(t, "key")), Target: meta.TargetVersion, Relation: meta.Less, Number: 2}}
		x.Otherwise = []meta.Op{{Kind: meta.OpDelete, Span: meta.Span{Key: []byte(key.Draw(t, "key")), End: []byte{0}}}}
	}
	if rapid.Bool().Draw(t, "has id") {
		x.ID = []byte{byte(rapid.IntRange(0, 5).Draw(t, "id"))}
	}
	return storepb.StoreMetaTxn(pinetree.VolumeID(id), x, storepb.Asker(index))
}

// TestReplicasDecideAlike cuts the same entries into writes in two ways; one of the
// replicas goes back, as after a crash, to where it was some writes ago.
func TestReplicasDecideAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := []*raftpb.Entry{entry(t, 1, create(1))}
		for index := range rapid.IntRange(1, 60).Draw(t, "entries") {
			entries = append(entries, entry(t, index+2, randomControl(t, index+2)))
		}
		one, other := newReplica(), newReplica()
		for _, e := range entries {
			if err := one.replay(e); err != nil {
				t.Fatal(err)
			}
		}
		flushed := *other
		crashes := rapid.IntRange(0, 3).Draw(t, "crashes")
		for int(other.position.Index) < len(entries) {
			rest := entries[other.position.Index:]
			if err := other.replay(rest[:rapid.IntRange(1, len(rest)).Draw(t, "write")]...); err != nil {
				t.Fatal(err)
			}
			switch rapid.IntRange(0, 2).Draw(t, "then") {
			case 0:
				flushed = *other
			case 1:
				if crashes--; crashes >= 0 {
					*other = flushed
				}
			}
		}
		if !bytes.Equal(one.stored(t), other.stored(t)) {
			t.Fatalf("replicas differ: %+v, %+v", one.position, other.position)
		}
		for asker, outcome := range one.outcomes {
			if other.outcomes[asker] != outcome {
				t.Fatalf("transaction %d: %s; at the other replica: %s", asker, outcome, other.outcomes[asker])
			}
		}
	})
}

func TestAQuotaHoldsFromTheEntryThatSetsIt(t *testing.T) {
	r := newReplica()
	quota := &storepb.Control{Op: &storepb.Control_ChangeVolume{ChangeVolume: &storepb.ChangeVolume{
		Volume: 1, Settings: &storepb.VolumeSettings{MetaBytes: 1000},
	}}}
	x := func(asker storepb.Asker) *storepb.Control {
		return storepb.StoreMetaTxn(1, meta.Txn{Then: []meta.Op{put("k", 600)}}, asker)
	}
	err := r.replay(entry(t, 1, create(1)), entry(t, 2, x(1)), entry(t, 3, quota), entry(t, 4, x(2)))
	if err != nil {
		t.Fatal(err)
	}
	if v := r.position.Volumes[1]; v.MetaRevision != 1 || v.MetaBytes != 601+128 {
		t.Fatalf("the metadata is at revision %d with %d bytes", v.MetaRevision, v.MetaBytes)
	}
	if got := r.outcomes[2]; !bytes.Contains([]byte(got), []byte("over quota")) {
		t.Fatalf("the second transaction: %s, want it over quota", got)
	}
}

// TestAnUnknownPartOfATransactionStopsTheReplica: to leave it out would make this
// replica differ from those that know it.
func TestAnUnknownPartOfATransactionStopsTheReplica(t *testing.T) {
	unknown := func(spoil func(*storepb.MetaTxn)) *storepb.Control {
		c := storepb.StoreMetaTxn(1, meta.Txn{
			Compares: []meta.Compare{{Key: []byte("a")}}, Then: []meta.Op{put("a", 1)}, Otherwise: []meta.Op{put("a", 2)},
		}, 1)
		spoil(c.GetMetaTxn())
		return c
	}
	for name, c := range map[string]*storepb.Control{
		"a target":     unknown(func(x *storepb.MetaTxn) { x.Compares[0].Target = 4 }),
		"a relation":   unknown(func(x *storepb.MetaTxn) { x.Compares[0].Relation = 4 }),
		"a kind of op": unknown(func(x *storepb.MetaTxn) { x.Then[0].Kind = 4 }),
		"no op":        unknown(func(x *storepb.MetaTxn) { x.Otherwise[0].Kind = 0 }),
		"a field":      unknown(func(x *storepb.MetaTxn) { x.ProtoReflect().SetUnknown([]byte{0x98, 0x06, 1}) }),
		"a field of an op": unknown(func(x *storepb.MetaTxn) {
			x.Then[0].ProtoReflect().SetUnknown([]byte{0x98, 0x06, 1})
		}),
	} {
		r := newReplica()
		if err := r.replay(entry(t, 1, create(1))); err != nil {
			t.Fatal(err)
		}
		if err := r.replay(entry(t, 2, c)); !errors.Is(err, pinetree.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

// TestADroppedVolumeLeavesNothingInTheWrite, however its entries and those of others
// are cut into writes.
func TestADroppedVolumeLeavesNothingInTheWrite(t *testing.T) {
	batch := func(index int, volume pinetree.VolumeID) *raftpb.Entry {
		b, err := storepb.EncodeBatch(volume, 1, []pinetree.Record{{Prev: 0, LSN: 5, Payload: []byte("x")}})
		if err != nil {
			t.Fatal(err)
		}
		e := entry(t, index, &storepb.Control{})
		e.Data = storepb.EncodeBatches([]pinetree.Batch{b})
		return e
	}
	fence := func(index, volume int) *raftpb.Entry {
		return entry(t, index, &storepb.Control{Op: &storepb.Control_Fence{Fence: &storepb.Fence{Volume: uint64(volume), ComputeTerm: 1}}})
	}
	txn := func(index int, asker uint64) *raftpb.Entry {
		x := meta.Txn{Then: []meta.Op{{Kind: meta.OpPut, Span: meta.Span{Key: []byte("k")}, Value: []byte("v")}}}
		return entry(t, index, storepb.StoreMetaTxn(6, x, storepb.Asker(asker)))
	}
	drop := entry(t, 8, &storepb.Control{Op: &storepb.Control_DropVolume{DropVolume: &storepb.DropVolume{Volume: 6}}})
	entries := []*raftpb.Entry{entry(t, 1, create(5)), entry(t, 2, create(6)), fence(3, 5), fence(4, 6), batch(5, 5), batch(6, 6), txn(7, 70), drop, txn(9, 90)}
	for cut := range len(entries) + 1 {
		r := newReplica()
		for _, run := range [][]*raftpb.Entry{entries[:cut], entries[cut:]} {
			if len(run) == 0 {
				continue
			}
			if err := r.replay(run...); err != nil {
				t.Fatalf("cut after %d: %v", cut, err)
			}
		}
		if len(r.position.Volumes) != 1 || r.position.Volumes[5].LSN != 5 || len(r.meta) != 0 {
			t.Errorf("cut after %d: %v, metadata of %d volumes", cut, r.position.Volumes, len(r.meta))
		}
		if !strings.Contains(r.outcomes[90], "unknown volume") || strings.Contains(r.outcomes[70], "unknown volume") {
			t.Errorf("cut after %d: the transactions came to %q and %q", cut, r.outcomes[70], r.outcomes[90])
		}
	}
}
