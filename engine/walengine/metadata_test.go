package walengine_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/walengine"
	"github.com/pinetree-db/pinetree/meta"
)

// TestLargeMetadataDoesNotFillTheLog: each file begins with all of the metadata, so
// small files must not make most of the disk copies of it. What the files before
// had of it goes with them, and it is there after a restart.
func TestLargeMetadataDoesNotFillTheLog(t *testing.T) {
	const metaBytes, writes, payload = 200 << 10, 200, 10 << 10
	dir, options := t.TempDir(), walengine.Options{FileBytes: 1 << 10}
	s, e := openNew(t, dir, options)
	c := newChain(t, payload)
	op := meta.Op{Kind: meta.OpPut, Span: meta.Span{Key: []byte("key")}, Value: make([]byte, metaBytes)}
	delta, _, err := meta.Evaluate(meta.Empty(), meta.Proposal{Txn: meta.Txn{Then: []meta.Op{op}}})
	if err != nil {
		t.Fatal(err)
	}
	next := c.next()
	next.Meta = []engine.MetaWrite{{Volume: 1, Delta: delta}}
	v := c.position.Volumes[1]
	v.MetaRevision, v.MetaBytes = 1, delta.Records[0].Change.Bytes()
	c.position.Volumes[1] = v
	for range writes {
		if err := e.Apply(next); err != nil {
			t.Fatal(err)
		}
		next = c.next()
	}
	if _, err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if most := int64(2 * writes * payload); size > most || len(files) < 3 {
		t.Fatalf("%d bytes in %d files, want several files and at most %d", size, len(files), most)
	}
	// The log is truncated as it grows, so all but the last files go.
	for range 6 {
		v := c.position.Volumes[1]
		v.Truncated = v.LSN
		c.position.Volumes[1] = v
		for range 50 {
			if err := e.Apply(next); err != nil {
				t.Fatal(err)
			}
			next = c.next()
		}
		if _, err := e.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	if left, err := filepath.Glob(filepath.Join(dir, "*.wal")); err != nil || len(left) > 4 {
		t.Fatalf("%d files are left, %v", len(left), err)
	}
	if s, err = walengine.Open(dir, options); err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	if e, err = s.Open(1); err != nil {
		t.Fatal(err)
	}
	table, err := e.Meta(1)
	if err != nil || table.Revision() != 1 || table.Bytes() != delta.Records[0].Change.Bytes() {
		t.Fatalf("after the restart the metadata is at revision %d with %d bytes, %v", table.Revision(), table.Bytes(), err)
	}
}
