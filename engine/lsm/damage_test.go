package lsm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/proto/storepb"
)

const (
	damagePages = 30
	damageKeys  = 60
)

// damageable fills a store with random changes, some of them marked, and
// closes it, so that all is in tables.
func damageable(t *testing.T, k kind, dir string) {
	t.Helper()
	s := k.open(t, dir)
	g := openGroup(t, s)
	random := rand.New(rand.NewPCG(1, 1))
	var lsn pinetree.LSN
	for index := range pinetree.RaftIndex(30) {
		var records []pinetree.Record
		for range 30 {
			data := []byte(fmt.Sprintf("mark %d %d %d", index, random.Uint64(), random.Uint64()))
			payload, err := proto.Marshal(&storepb.Redo{Ops: []*storepb.RedoOp{
				{Op: &storepb.RedoOp_PagePatch{PagePatch: &storepb.PagePatch{Page: random.Uint64N(damagePages), Offset: uint32(random.IntN(500)), Bytes: data}}},
				{Op: &storepb.RedoOp_KeyPut{KeyPut: &storepb.KeyPut{Key: fmt.Append(nil, "key", random.IntN(damageKeys)), Value: data}}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, pinetree.Record{Prev: lsn, LSN: lsn + 10, Payload: payload})
			lsn += 10
		}
		b, err := storepb.EncodeBatch(1, 1, records)
		if err != nil {
			t.Fatal(err)
		}
		err = g.Apply(engine.Write{Batches: []pinetree.Batch{b}, Position: pinetree.Position{
			Index: index + 1, Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{1: {LSN: lsn, Format: pinetree.FormatRedo}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	flush(t, g)
	closeStore(t, s)
	closeStore(t, k.open(t, dir)) // pebble makes tables of its log when it is opened
}

// everything is all that can be read, each answer in words; an error that says
// that something is damaged is the empty answer.
func everything(t *testing.T, s *Store) (answers []string) {
	t.Helper()
	add := func(err error, answer string) {
		if err != nil && !errors.Is(err, pinetree.ErrCorrupt) && !errors.Is(err, pinetree.ErrNotFound) {
			t.Fatal(err)
		}
		if errors.Is(err, pinetree.ErrCorrupt) {
			answer = ""
		}
		answers = append(answers, answer)
	}
	e, err := s.Open(1)
	if err != nil {
		add(err, "")
		return answers
	}
	r, err := e.Volume(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []pinetree.LSN{0, 4000} {
		for page := range pinetree.PageNo(damagePages) {
			read, err := r.Page(page, at)
			add(err, fmt.Sprintf("%q of %s", read.Page, read.PageLSN))
		}
		for key := range damageKeys {
			read, err := r.Get(fmt.Append(nil, "key", key), at)
			add(err, fmt.Sprintf("%q of %s", read.Value, read.KeyLSN))
		}
		read, err := r.Range(engine.RangeSpec{Limit: 1000, At: at})
		add(err, fmt.Sprintf("%q", read.Items))
	}
	var log []pinetree.LSN
	err = r.Log(0, func(b pinetree.Batch) error { log = append(log, b.LSN); return nil })
	add(err, fmt.Sprint(log))
	return answers
}

// mark is in each value.
var mark = []byte("mark ")

// file returns the table of a closed store that has the most values, or the file of
// its large values.
func file(t *testing.T, dir, ext string) (path string, data []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+ext))
	if err != nil || len(files) == 0 {
		t.Fatalf("files %q, %v, want one", files, err)
	}
	for _, f := range files {
		read, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if path == "" || bytes.Count(read, mark) > bytes.Count(data, mark) {
			path, data = f, read
		}
	}
	return path, data
}

// TestADamagedValueIsNeverServed flips a bit in values: each answer is either
// right or an error.
func TestADamagedValueIsNeverServed(t *testing.T) { onEach(t, testADamagedValueIsNeverServed) }

func testADamagedValueIsNeverServed(t *testing.T, k kind) {
	for _, ext := range k.files {
		t.Run(ext, func(t *testing.T) { neverServed(t, k, ext) })
	}
}

func neverServed(t *testing.T, k kind, ext string) {
	sound := t.TempDir()
	damageable(t, k, sound)
	s := k.open(t, sound)
	truth := everything(t, s)
	closeStore(t, s)
	_, data := file(t, sound, ext)
	var marks []int
	for at := 0; ; at++ {
		next := bytes.Index(data[at:], mark)
		if next < 0 {
			break
		}
		at += next
		marks = append(marks, at)
	}
	random := rand.New(rand.NewPCG(5, 5))
	seen := 0 // by reads; no read meets a key's version that others cover
	for range 15 {
		at := marks[random.IntN(len(marks))] + random.IntN(20)
		flip(t, k, sound, ext, at, func(s *Store) {
			got := everything(t, s)
			if slices.Contains(got, "") {
				seen++
			}
			for i := range truth {
				if got[i] != truth[i] && got[i] != "" {
					t.Fatalf("bit flipped at %d: an answer is %s, should be %s or an error", at, got[i], truth[i])
				}
			}
			if err := s.Verify(); !errors.Is(err, pinetree.ErrCorrupt) {
				t.Fatalf("bit flipped at %d: Verify: %v, want ErrCorrupt", at, err)
			}
		})
	}
	if seen < 6 {
		t.Fatalf("reads saw %d of 15 flips, the test means to flip what they meet", seen)
	}
}

// TestVerifySeesAllDamage flips a bit anywhere in a file. Most flips are in
// values; of the others, some end in a missing key, which only Verify sees.
func TestVerifySeesAllDamage(t *testing.T) { onEach(t, testVerifySeesAllDamage) }

func testVerifySeesAllDamage(t *testing.T, k kind) {
	for _, ext := range k.files {
		t.Run(ext, func(t *testing.T) { verifySees(t, k, ext) })
	}
}

func verifySees(t *testing.T, k kind, ext string) {
	sound := t.TempDir()
	damageable(t, k, sound)
	s := k.open(t, sound)
	truth := everything(t, s)
	if err := s.Verify(); err != nil {
		t.Fatalf("nothing is damaged: %v", err)
	}
	closeStore(t, s)
	_, data := file(t, sound, ext)
	random := rand.New(rand.NewPCG(6, 6))
	for range 25 {
		at := random.IntN(len(data))
		flip(t, k, sound, ext, at, func(s *Store) {
			if err := s.Verify(); err == nil && !slices.Equal(everything(t, s), truth) {
				t.Fatalf("bit flipped at %d: Verify sees nothing, and answers differ", at)
			}
		})
	}
}

// flip calls fn with a copy of the store in which a bit of a file is
// flipped, unless it refuses to open.
func flip(t *testing.T, k kind, sound, ext string, at int, fn func(*Store)) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(sound)); err != nil {
		t.Fatal(err)
	}
	path, data := file(t, dir, ext)
	data[at] ^= 1 << (at % 8)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := k.tryOpen(dir)
	if err != nil {
		return
	}
	defer closeStore(t, s)
	fn(s)
}
