package dump

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pinetree-db/pinetree"
	"github.com/pinetree-db/pinetree/cmd/internal/backends"
	"github.com/pinetree-db/pinetree/cmd/internal/cli"
	"github.com/pinetree-db/pinetree/engine"
	"github.com/pinetree-db/pinetree/engine/metatest"
	"github.com/pinetree-db/pinetree/meta"
)

// contents are the names of a directory's files and what is in them.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s: %d bytes, CRC32C %08x\n", path, len(data), crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// run dumps a directory and returns what it prints.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := Command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append(args, "--scratch", t.TempDir()))
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

// written is a group with a volume's metadata of five revisions, compacted to the
// second.
func written(t *testing.T, store engine.Store) engine.Engine {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(store.Create(3, pinetree.Position{}))
	e, err := store.Open(3)
	must(err)
	s := metatest.NewSource(t)
	at := pinetree.Position{Volumes: map[pinetree.VolumeID]pinetree.VolumePosition{7: {Format: pinetree.FormatOpaque}}}
	write := func() {
		at.Index++
		must(e.Apply(engine.Write{Position: at.Clone(), Meta: s.Take()}))
	}
	write()
	for _, op := range []meta.Op{
		metatest.Put("a", "1"), metatest.Put("b", "2"), metatest.Put("a", "3"), metatest.Delete("b", "c"), metatest.Put("\xff", "\x00"),
	} {
		s.Txn(&at, 7, meta.Txn{Then: []meta.Op{op}})
		write()
	}
	s.Compact(&at, 7, 2)
	write()
	_, err = e.Flush()
	must(err)
	return e
}

// TestMetadataIsShownAndNothingChanged of a node that was stopped, and of one that
// was killed, whose files an ordinary start would mend.
func TestMetadataIsShownAndNothingChanged(t *testing.T) {
	for _, name := range []string{"badger", "pebble", "wal"} {
		t.Run(name, func(t *testing.T) {
			dir, killed := t.TempDir(), filepath.Join(t.TempDir(), "engine")
			store, err := backends.Engines[name](dir, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			written(t, store)
			if out, err := run(t, dir); err == nil || !strings.Contains(err.Error(), "is a node running on it?") {
				t.Errorf("of an engine in use: %v, %s", err, out)
			}
			// What a killed process leaves is what the operating system has of its files.
			if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			for what, dir := range map[string]string{"stopped": dir, "killed": killed} {
				before := contents(t, dir)
				checkDump(t, what, dir)
				if after := contents(t, dir); after != before {
					t.Errorf("%s: the files were\n%s and are\n%s", what, before, after)
				}
			}
		})
	}
}

func checkDump(t *testing.T, what, dir string) {
	t.Helper()
	out, err := run(t, dir, "--history", "-o", "json")
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	var d dump
	if err := json.Unmarshal([]byte(out), &d); err != nil || len(d.Groups) != 1 || len(d.Groups[0].Volumes) != 1 {
		t.Errorf("%s: %v, %s", what, err, out)
		return
	}
	text := func(s string) *cli.Bytes { return new(cli.BytesOf([]byte(s))) }
	want := metaDump{
		Revision: 5, Compacted: 2, Bytes: d.Groups[0].Volumes[0].Metadata.Bytes,
		Keys: []metaItem{
			{Key: *text("a"), Value: text("3"), Created: 1, Modified: 3, Version: 2},
			{Key: *text("\xff"), Value: text("\x00"), Created: 5, Modified: 5, Version: 1},
		},
		History: []metaItem{
			{Key: *text("a"), Value: text("3"), Created: 1, Modified: 3, Version: 2},
			{Key: *text("b"), Modified: 4, Deleted: true},
			{Key: *text("\xff"), Value: text("\x00"), Created: 5, Modified: 5, Version: 1},
		},
	}
	got, _ := json.Marshal(d.Groups[0].Volumes[0].Metadata)
	if wanted, _ := json.Marshal(want); string(got) != string(wanted) || want.Bytes == 0 {
		t.Errorf("%s: dumped %s\nwritten %s", what, got, wanted)
	}
	if what == "killed" {
		return // once is enough where a copy is made
	}
	out, err = run(t, dir, "--history")
	for _, words := range []string{"revision 5, compacted to 2, 2 keys", `"\xff"`, "– deleted"} {
		if err != nil || !strings.Contains(out, words) {
			t.Errorf("%s: %v, %s; want %q", what, err, out, words)
		}
	}
}

// TestATornEndOfALogIsLeftAsItIs: a start would cut it.
func TestATornEndOfALogIsLeftAsItIs(t *testing.T) {
	dir := t.TempDir()
	store, err := backends.Engines["wal"](dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	written(t, store)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	f, err := os.OpenFile(logs[0], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	checkDump(t, "torn", dir)
	if after := contents(t, dir); after != before {
		t.Errorf("the files were\n%s and are\n%s", before, after)
	}
}
