package engine_test

import (
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/memengine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

// bent is a Reader that answers wrongly.
type bent struct {
	engine.Reader
	page func(*engine.PageRead)
	keys func(*engine.RangeRead)
}

func (b bent) Page(page pinetree.PageNo, at pinetree.LSN) (engine.PageRead, error) {
	read, err := b.Reader.Page(page, at)
	if b.page != nil {
		b.page(&read)
	}
	return read, err
}

func (b bent) Range(r engine.RangeSpec) (engine.RangeRead, error) {
	read, err := b.Reader.Range(r)
	if b.keys != nil {
		b.keys(&read)
	}
	return read, err
}

// TestDigestShowsAReplicaThatReplayedWrongly has the same log under other
// pages and keys.
func TestDigestShowsAReplicaThatReplayedWrongly(t *testing.T) {
	s := memengine.New(memengine.Options{})
	if err := s.Create(1, pinetree.Position{}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := storepb.EncodeBatch(1, 1, []pinetree.Record{{LSN: 10, Payload: marshal(t, redoOf(image(3, []byte("page")), put("k", "v"), put("l", "w")))}})
	if err != nil {
		t.Fatal(err)
	}
	err = e.Apply(engine.Write{Batches: []pinetree.Batch{b}, Position: pinetree.Position{
		Index: 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: 10, Format: pinetree.FormatRedo}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	right, err := engine.Digest(bent{Reader: r}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]bent{
		"a page's bytes": {page: func(p *engine.PageRead) { p.Page[0] ^= 1 }},
		"a page's LSN":   {page: func(p *engine.PageRead) { p.PageLSN-- }},
		"a key's value":  {keys: func(k *engine.RangeRead) { k.Items[0].Value[0] ^= 1 }},
		"a key's LSN":    {keys: func(k *engine.RangeRead) { k.Items[1].LSN-- }},
		"a missing key":  {keys: func(k *engine.RangeRead) { k.Items = k.Items[1:] }},
		"a key too many": {keys: func(k *engine.RangeRead) { k.Items = append(k.Items, engine.Item{Key: []byte("m")}) }},
	} {
		wrong.Reader = r
		if d, err := engine.Digest(wrong, 0); err != nil || d.Sum == right.Sum {
			t.Errorf("%s: the digest is equal, %v", name, err)
		}
	}
}

// TestDigestsAreThoseOfEachLSN asks for many LSNs at once and for each alone,
// some of them between records and some of them twice.
func TestDigestsAreThoseOfEachLSN(t *testing.T) {
	s := memengine.New(memengine.Options{})
	if err := s.Create(1, pinetree.Position{}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	lsn := pinetree.LSN(0)
	for index := pinetree.RaftIndex(1); index <= 8; index++ {
		var records []pinetree.Record
		for i := range uint64(3) {
			op := redoOf(patch(uint64(index)%3+i, 5, []byte{byte(index), byte(i)}), put(string(rune('a'+i)), string(rune('a'+index))))
			records = append(records, pinetree.Record{Prev: lsn, LSN: lsn + 10, Payload: marshal(t, op)})
			lsn += 10
		}
		b, err := storepb.EncodeBatch(1, 1, records)
		if err != nil {
			t.Fatal(err)
		}
		err = e.Apply(engine.Write{Batches: []pinetree.Batch{b}, Position: pinetree.Position{
			Index: index, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: lsn, Format: pinetree.FormatRedo}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := e.Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	at := []pinetree.LSN{0, 90, 15, 5, 20, 10, 240, 235, 90, 1000}
	all, err := engine.Digests(r, at)
	if err != nil {
		t.Fatal(err)
	}
	for i, lsn := range at {
		if one, err := engine.Digest(r, lsn); err != nil || one != all[i] {
			t.Errorf("at %s: %+v alone, %+v of many, %v", lsn, one, all[i], err)
		}
	}
}
